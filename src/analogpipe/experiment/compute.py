"""Where and how exactly a run computes: device and precision."""

import torch
from torch import Tensor, nn

from analogpipe.checked import ConfigError
from analogpipe.profile.profile import Compute


def prepare(compute: Compute) -> torch.device:
    """Return the device of a run, and set how this process multiplies on it.

    Raises ConfigError when the machine has no such device.
    """
    if compute.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("compute.device: found cuda, allowed: cpu, as torch finds no GPU here")
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
