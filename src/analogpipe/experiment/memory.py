"""The largest memory that this process has had."""

import resource
import sys
from pathlib import Path

import torch


def peak() -> int:
    """Return the peak of this process in bytes: resident memory, and that of tensors on a GPU."""
    used = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    return _resident() + (torch.cuda.max_memory_allocated() if used else 0)


def _resident() -> int:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage on Linux also counts the process that started this one
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
