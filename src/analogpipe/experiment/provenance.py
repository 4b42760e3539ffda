"""What a result depends on besides its configuration: sources, versions, commit, machine kind."""

import hashlib
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import analogpipe
from analogpipe.profile.profile import Run
from analogpipe.profile.sections import PythonModel

SOURCES = Path(analogpipe.__file__).parent


def key(run: Run, data: str) -> str:
    """Return a digest of a run's configuration, its data (Data.digest), the library's sources, the file of
    the user's own network and the versions of torch and Numba.

    A checkpoint under another key belongs to another computation. How often checkpoints are made
    changes no result and is left out, so that a run may go on with another interval.
    """
    settings = run.model_dump_json(exclude={"training": {"checkpoint_every"}})
    digest = hashlib.sha256(settings.encode())
    digest.update(f"{data} {torch.__version__} {version('numba')}".encode())
    for source in sorted(SOURCES.rglob("*.py")):
        digest.update(source.read_bytes())
    if isinstance(run.model, PythonModel):
        digest.update(Path(run.model.file).read_bytes())
    return digest.hexdigest()[:16]


def environment(device: str) -> dict[str, Any]:
    """Return versions, git commit, device (``cpu`` or ``cuda``, then with the name of the GPU) and
    threads, for the record of a run."""
    return {
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("analogpipe", "torch", "numpy", "numba")},
        },
        "git_commit": commit(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def commit() -> str | None:
    """Return the commit of the sources, with ``-dirty`` when they were edited since; None outside git."""
    command = [
        "git",
        "-C",
        str(SOURCES),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout.strip()
