"""The machine of a run: its device, how exactly it computes, the memory that it had at most."""

import ctypes
import resource
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from analogpipe.profile.sections import Compute
from analogpipe.settings import ConfigError

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""


def keep_memory() -> None:
    """Let this process keep the memory that it frees, up to 1 GiB: glibc would give what every step needs
    back to the system, which then clears its pages anew. Elsewhere than under glibc, nothing."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_MMAP_THRESHOLD, 2**25)  # the largest that it takes
    mallopt(_TRIM_THRESHOLD, 2**30)


def prepare(compute: Compute) -> torch.device:
    """Return the device of a run, and set how this process multiplies on it.

    Raises ConfigError when the machine has no such device.
    """
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("compute.device: found cuda, allowed: cpu, as torch finds no GPU here")
    keep_memory()
    precision = "high" if compute.precision == "tf32" else "highest"
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = compute.precision == "tf32"
    torch.backends.cudnn.deterministic = True
    return torch.device(compute.device)


class Autocast(nn.Module):
    """A stage whose digital parts compute in bfloat16; messages and analog layers stay float32."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        """Return what the module returns, as float32."""
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            y: Tensor = self.module(x)
        return y.float()


def peak_memory() -> int:
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
