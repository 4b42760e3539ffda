"""Checkpoints of a run: written whole or not at all, refused when they are not the run's own."""

import json
import re
import shutil
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from analogpipe.files import write_bytes

_NUMBER = re.compile("[0-9]{9}")
_NAME = re.compile(r"[0-9]{9}\.safetensors|\.[0-9]{9}\.safetensors\.part")


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of a run at one moment, and notes (JSON) beside them."""

    tensors: dict[str, Tensor]
    notes: dict[str, Any]


class Store:
    """The checkpoints of one run, in ``folder``; ``key`` says which computation they belong to.

    It holds two: the newest and, should that be damaged, the one before it.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        self._good: int | None = None

    def save(self, number: int, tensors: dict[str, Tensor], notes: dict[str, Any]) -> None:
        """Write checkpoint ``number``; keep beside it only the one that was saved or loaded last.

        Raises FileError, e.g. on a full disk, and leaves those that are there.
        """
        content = save(tensors, {"key": self.key, "notes": json.dumps(notes)})
        write_bytes(self._path(number), content)
        kept = {self._path(n).name for n in (number, self._good) if n is not None}
        for path in self.folder.iterdir():  # foreign ones and what was half written go, too
            if _NAME.fullmatch(path.name) and path.name not in kept and path.is_file():
                path.unlink()
        self._good = number

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint that is whole and the run's own; None when there is none.

        One that is refused is named in a line on stderr.
        """
        for number in self._numbers():
            path = self._path(number)
            try:
                with safe_open(path, framework="pt") as file:
                    header = file.metadata() or {}
                    if header.get("key") != self.key:
                        raise ValueError("it belongs to another run or version of the code")
                    notes = json.loads(header["notes"])
                    if not isinstance(notes, dict):
                        raise ValueError("its notes are no mapping")
                    names = list(file.keys())
                    found = Checkpoint({name: file.get_tensor(name) for name in names}, notes)
                self._good = number
                return found
            except (
                SafetensorError,
                OSError,
                ValueError,
                KeyError,
                RecursionError,
                struct.error,
            ) as error:
                print(f"{path}: checkpoint refused: {error}", file=sys.stderr)
        return None

    def clear(self) -> None:
        """Remove all checkpoints of the run."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:09d}.safetensors"

    def _numbers(self) -> list[int]:
        """Numbers of the stored checkpoints, newest first."""
        names = (path.stem for path in self.folder.glob("*.safetensors"))
        return sorted((int(name) for name in names if _NUMBER.fullmatch(name)), reverse=True)
