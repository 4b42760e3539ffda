"""A least-squares problem with known constants, cut into blocks that a pipeline can train.

Many independent problems are solved at once: each is one output row of the arrays. They share the
inputs, so the inputs must not be random: every micro-batch holds the same fixed design, and all
randomness is the noise of the targets, drawn afresh for each row. What else could couple rows is the
common pulse train of a row of drivers; :func:`independent` fixes its length.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import hadamard
from torch import Tensor, nn

from analogpipe.layer.linear import AnalogLinear
from analogpipe.profile.theory import Theory
from analogpipe.schedule.staleness import delay
from analogpipe.seeds import generator
from analogpipe.theory.bounds import BLOCKS, Constants
from analogpipe.tile.config import TileConfig
from analogpipe.tile.sections import UpdateConfig

INPUTS = 16
SMALLEST = 0.25  # smallest eigenvalue of the Hessian; the largest, L, is 1
PULSES = 4096
PULSE_NOISE = 0.3
"""Noise of a pulse relative to its size, AIHWKit's default."""
SEED = 0
_CHUNK = 64  # micro-batches whose noise is drawn at a time


def design() -> NDArray[np.float64]:
    """Return the inputs of a micro-batch, X (INPUTS, INPUTS).

    The Hessian X^T X / INPUTS of the problem has eigenvalues from SMALLEST to 1 in a geometric row,
    in a rotated basis, so that every block is coupled to every other.
    """
    stream = generator(0, "design")
    gaussian = torch.randn(INPUTS, INPUTS, generator=stream, dtype=torch.float64).numpy()
    rotation, _ = np.linalg.qr(gaussian)
    scales = np.sqrt(np.geomspace(SMALLEST, 1, INPUTS))
    x: NDArray[np.float64] = hadamard(INPUTS) @ (scales[:, None] * rotation.T)
    return x


def read_noise(blocks: int) -> float:
    """Standard deviation of a prediction when every block is read with unit output noise.

    The noise of a read scales with the largest input of the block, as noise management sets it.
    """
    scales = np.abs(design()).reshape(INPUTS, blocks, -1).max(2)
    return float(np.sqrt((scales**2).sum(1).mean()))


def independent(tile: TileConfig) -> TileConfig:
    """Return ``tile`` with pulse trains of a fixed length that no row exceeds.

    A train as long as the largest signal of the array needs would make the variance of every row
    depend on the others.
    """
    update = UpdateConfig(rule=tile.update.rule, desired_bl=PULSES, update_bl_management=False)
    return tile.model_copy(update={"update": update})


@dataclass(frozen=True)
class LeastSquares:
    """Problems ``min E (x.w - y)^2 / 2`` with ``y = x.w* + noise``, a row each.

    Attributes:
        size: |w*_j|, the same for every coordinate of a row, (rows,).
        sigma: standard deviation of the noise of a target, (rows,).
        seed: of the signs of w* and of the noise.
    """

    size: NDArray[np.float64]
    sigma: NDArray[np.float64]
    seed: int

    @property
    def rows(self) -> int:
        """Number of independent problems."""
        return len(self.size)

    @property
    def minimiser(self) -> NDArray[np.float64]:
        """The minimisers w* (rows, INPUTS), of random signs."""
        stream = generator(self.seed, "minimiser")
        signs = torch.randint(2, (self.rows, INPUTS), generator=stream).numpy() * 2.0 - 1
        minimiser: NDArray[np.float64] = signs * self.size[:, None]
        return minimiser

    def constants(self, rows: slice = slice(None)) -> Constants:
        """Constants of rows that differ in the signs of w* alone.

        Raises:
            ValueError: the rows differ in more.
        """
        sigma, size = np.unique(self.sigma[rows]), np.unique(self.size[rows])
        if len(sigma) > 1 or len(size) > 1:
            raise ValueError(f"rows of one sigma and |w*| are needed, found {sigma} and {size}")
        return Constants(design(), float(sigma[0]), self.minimiser[rows])

    def squared_gradients(self, path: Tensor) -> NDArray[np.float64]:
        """Squared norms of the full gradient at weights (..., rows, INPUTS)."""
        x = design()
        hessian = torch.from_numpy(x.T @ x / INPUTS).float()
        away = path - torch.from_numpy(self.minimiser).float()
        return torch.matmul(away, hessian).square_().sum(-1).double().numpy()

    def blocks(self, count: int, tile: TileConfig, seed: int) -> list["Share"]:
        """Return the model as ``count`` blocks, each with an equal share of the weights, from zero."""
        if INPUTS % count:
            raise ValueError(f"{INPUTS} inputs cannot be cut into {count} equal blocks")
        share = INPUTS // count
        return [
            Share(
                slice(i * share, (i + 1) * share), self.rows, independent(tile), seed, f"share{i}"
            )
            for i in range(count)
        ]

    def batches(self) -> "Batches":
        """Return the micro-batches, a function of their number."""
        return Batches(self)


def rates_problem(sizes: Theory) -> LeastSquares:
    """Return the problems of the rates: equal up to their seed."""
    return LeastSquares(np.full(sizes.rows, sizes.size), np.full(sizes.rows, sizes.sigma), SEED)


def floor_problem(sizes: Theory) -> LeastSquares:
    """Return the problems of the floor: a group of rows for each sigma, then for each |w*|."""
    groups = [(sizes.sigma, sizes.size)]
    groups += [(sigma, sizes.size) for sigma in sizes.sigmas]
    groups += [(sizes.sigma, size) for size in sizes.sizes]
    sigma, size = np.array(list(dict.fromkeys(groups))).repeat(sizes.floor_rows, axis=0).T
    return LeastSquares(size, sigma, SEED)


class Way(NamedTuple):
    """Arrays (``digital`` or ``linear``) and schedule of a run."""

    device: str
    mode: str
    stages: int


def delays(mode: str, stages: int) -> list[int]:
    """Updates between forward and update of each block."""
    per_stage = BLOCKS // stages
    return np.repeat(delay(mode, stages, np.arange(1, stages + 1)), per_stage).tolist()


class Share(nn.Module):
    """A block that adds its share of the prediction to the message.

    A message (b, INPUTS + rows) holds the inputs, which every block needs, and the prediction so
    far. The inputs are data: they need no gradient.
    """

    def __init__(self, columns: slice, rows: int, tile: TileConfig, seed: int, name: str) -> None:
        super().__init__()
        self.columns = columns
        width = columns.stop - columns.start
        self.layer = AnalogLinear(width, rows, tile, bias=False, seed=seed, name=name)
        self.layer.set_weight(torch.zeros(self.layer.shape))

    def forward(self, message: Tensor) -> Tensor:
        """Map a message to the next."""
        own = self.layer(message[:, self.columns].detach())
        return torch.cat([message[:, :INPUTS], message[:, INPUTS:] + own], 1)


class Batches:
    """Micro-batch ``b``: the empty message, and targets with noise of their own."""

    def __init__(self, problem: LeastSquares) -> None:
        x = torch.from_numpy(design()).float()
        self._message = torch.cat([x, torch.zeros(INPUTS, problem.rows)], 1)
        self._clean = x @ torch.from_numpy(problem.minimiser).float().T
        sigma = torch.from_numpy(problem.sigma).float()

        @lru_cache(maxsize=2)
        def targets(chunk: int) -> Tensor:
            noise = torch.empty(_CHUNK, INPUTS, problem.rows)
            noise.normal_(generator=generator(problem.seed, "targets", chunk))
            return noise.mul_(sigma).add_(self._clean)

        self._targets = targets

    def __call__(self, b: int) -> tuple[Tensor, Tensor]:
        """Return message (INPUTS, INPUTS + rows) and target (INPUTS, rows)."""
        chunk, place = divmod(b, _CHUNK)
        return self._message, self._targets(chunk)[place]


def loss(message: Tensor, target: Tensor) -> Tensor:
    """Half the squared error, mean over the micro-batch, summed over the independent rows."""
    return (message[:, INPUTS:] - target).square().sum() / (2 * len(target))
