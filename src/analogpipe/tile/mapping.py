"""How a matrix of weights lies on arrays: at what scale, and in which pieces.

A layer multiplies by ``W = s alpha A``: ``A`` is in an array, ``alpha`` is fixed when the weight is
set and ``s`` is a digital parameter that is learned, 1 at first (AIHWKit: MappingParameter).

- Forward: ``y = s alpha read(A, x)``, where a scale is one number or one for each output.
- Backward: the error of the output is scaled as the output was, then read through the array,
  ``read(A^T, s alpha e)``.
- Update: the array gets ``s e / alpha``, so that ``alpha A`` moves by ``-lr s e x`` as a parameter
  would, and the weight by ``-lr s^2 e x``.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from analogpipe.tile.attributes import buffer, parameter
from analogpipe.tile.sections import MappingConfig


class Scales(nn.Module):
    """The scales of an array of ``outputs`` rows: ``alpha`` and ``s``, each None where it is not used."""

    alpha: Tensor | None = buffer("alpha")
    """Fixed scale, (1,) or (outputs,)."""
    learned: nn.Parameter | None = parameter("learned")
    """Learned scale, (1,) or (outputs,)."""

    def __init__(self, outputs: int, config: MappingConfig) -> None:
        super().__init__()
        self.config = config
        own = outputs if config.weight_scaling_columnwise else 1
        self.register_buffer("alpha", torch.ones(own) if config.weight_scaling_omega else None)
        size = outputs if config.out_scaling_columnwise else 1
        learned = nn.Parameter(torch.ones(size)) if config.learn_out_scaling else None
        self.register_parameter("learned", learned)

    @torch.no_grad()
    def fit(self, weight: Tensor) -> Tensor:
        """Choose ``alpha`` for a weight (out, in), and return what the array has to hold of it.

        With ``weight_scaling_omega`` the largest weight of the array, or of each row, becomes omega;
        without it the array holds the weight as it is. ``s`` becomes 1 (in AIHWKit only with omega).
        """
        if self.learned is not None:
            self.learned.fill_(1.0)
        if self.alpha is None:
            return weight
        sizes = weight.abs()
        top = sizes.amax(1) if self.config.weight_scaling_columnwise else sizes.amax().view(1)
        alpha = top / self.config.weight_scaling_omega
        self.alpha.copy_(torch.where(alpha == 0, 1.0, alpha))
        return weight / self.alpha.unsqueeze(1)

    def fixed(self, y: Tensor) -> Tensor:
        """Return ``alpha y``: of what was read from the array, or of the error that is to be read
        through it; outputs along axis 1."""
        return y if self.alpha is None else y * along(self.alpha, y)

    def fix_(self, y: Tensor) -> Tensor:
        """As :meth:`fixed`, in place: a signal of a large batch is not copied."""
        return y if self.alpha is None else y.mul_(along(self.alpha, y))

    def whole(self) -> Tensor | None:
        """Return ``s alpha``, (1,) or (outputs,); None for no scale."""
        if self.alpha is None or self.learned is None:
            return self.alpha if self.learned is None else self.learned.detach()
        return self.alpha * self.learned.detach()

    def rates(self) -> tuple[Tensor, float] | None:
        """Return by what the errors of an update are divided, and what multiplies its rate; None for
        nothing."""
        if self.alpha is None:
            return None
        if not self.config.weight_scaling_lr_compensation:
            return self.alpha, 1.0
        factor = 1 / float(self.alpha.mean())
        return self.alpha * factor, factor


def along(scale: Tensor, y: Tensor) -> Tensor:
    """Return ``scale`` (n,) as it multiplies axis 1 of ``y``, a view."""
    return scale.view(-1, *[1] * (y.dim() - 2))


def pieces(size: int, largest: int) -> list[slice]:
    """Cut ``size`` lines into as few pieces as have ``largest`` lines at most, as equal as can be.

    The first ones are larger. ``largest`` 0: one piece (AIHWKit: TileModuleArray.get_split_sizes).
    """
    count = -(-size // largest) if largest else 1
    base, more = divmod(size, count)
    ends = [base * i + min(i, more) for i in range(count + 1)]
    return [slice(begin, end) for begin, end in pairwise(ends)]
