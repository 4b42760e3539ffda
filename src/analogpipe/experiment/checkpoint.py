"""Checkpoints of a run: written whole or not at all, refused when they are not the run's own."""

import json
import re
import shutil
import struct
import sys
from collections.abc import Iterator
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
    """The tensors of a run at one moment, notes (JSON) beside them, and whose they are."""

    tensors: dict[str, Tensor]
    notes: dict[str, Any]
    key: str


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
        for number, found in self._each():
            if self.key == found:
                checkpoint = self.take(number)
                if checkpoint is not None:
                    return checkpoint
            else:
                refused = "it belongs to another run or version of the code"
                print(f"{self._path(number)}: checkpoint refused: {refused}", file=sys.stderr)
        return None

    def take(self, number: int) -> Checkpoint | None:
        """Return checkpoint ``number``, whosever it is, and keep it; None when it is damaged."""
        checkpoint = self._open(number, tensors=True)
        if checkpoint is not None:
            self._good = number
        return checkpoint

    def keys(self) -> dict[int, str]:
        """Return the keys of all whole checkpoints, newest first."""
        return dict(self._each())

    def notes(self, number: int) -> dict[str, Any]:
        """Return the notes of a checkpoint of :meth:`keys`."""
        found = self._open(number, tensors=False)
        return {} if found is None else found.notes

    def _each(self) -> Iterator[tuple[int, str]]:
        for number in self._numbers():
            if (found := self._open(number, tensors=False)) is not None:
                yield number, found.key

    def _open(self, number: int, *, tensors: bool) -> Checkpoint | None:
        path = self._path(number)
        try:
            with safe_open(path, framework="pt") as file:
                header = file.metadata() or {}
                notes = json.loads(header["notes"])
                if not isinstance(notes, dict):
                    raise ValueError("its notes are no mapping")
                names = list(file.keys()) if tensors else []
                values = {name: file.get_tensor(name) for name in names}
                return Checkpoint(values, notes, header["key"])
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
