"""What the cost model has to know of a layer and of a stage. Torch-free."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from typing import Literal, NamedTuple

from analogpipe.schedule.partition import from_sizes, partition

Kind = Literal["linear", "convolution", "attention"]


class LayerError(ValueError):
    """A layer that cannot be."""


class Tiling(NamedTuple):
    """How a matrix is cut to arrays: their numbers, and the lines in use on the largest one."""

    across_inputs: int
    across_outputs: int
    inputs: int
    outputs: int

    @property
    def arrays(self) -> int:
        """Number of arrays."""
        return self.across_inputs * self.across_outputs


@dataclass(frozen=True)
class Layer:
    """A matrix in arrays, or the digital product of attention scores.

    ``inputs`` and ``outputs`` are the sides of the matrix (of a convolution: input channels times
    kernel area, and output channels) and ``positions`` the input vectors of one sample: 1, tokens,
    or output height times width. Of ``attention`` they are the width, twice, and the tokens; its
    projections are linear layers of their own, the number of heads does not matter.

    ``stored`` counts the values that a sample leaves for the backward pass; if not given, all
    inputs. The patches of a convolution overlap, so that it stores fewer. ``returns_error`` is
    False for the first layer of a network, whose transposed matrix nobody needs.

    ``replicas`` hold the same matrix and share the positions. Where they learn from their own
    positions (RAPA, 10.3389/fnins.2019.00753), each is pulsed for its share; ``identical`` ones are
    all pulsed for all.

    ``mean_pulses`` is the mean length of a pulse train that a run counted; that of the hardware if
    not given. ``name`` is where a network has the layer.
    """

    kind: Kind
    inputs: int
    outputs: int
    positions: int = 1
    stored: int | None = None
    returns_error: bool = True
    replicas: int = 1
    identical: bool = False
    mean_pulses: float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse sizes below 1."""
        for name in ("inputs", "outputs", "positions", "replicas"):
            if getattr(self, name) < 1:
                raise LayerError(f"{name} is {getattr(self, name)}, allowed is 1 or more")
        if self.mean_pulses is not None and not 0 <= self.mean_pulses < float("inf"):
            raise LayerError(f"mean_pulses is {self.mean_pulses}, allowed is 0 or more, finite")
        if self.kind == "attention" and self.inputs != self.outputs:
            raise LayerError(
                f"attention of width {self.inputs} gives {self.outputs}, must be equal"
            )

    @property
    def stored_values(self) -> int:
        """Values of a sample that wait for its backward pass."""
        if self.stored is not None:
            return self.stored
        queries_keys_values = 3 if self.kind == "attention" else 1
        return queries_keys_values * self.positions * self.inputs

    def tiling(self, lines: int) -> Tiling:
        """Cut the matrix to arrays of ``lines`` lines, in parts that are as equal as can be."""
        a, b = ceil(self.inputs / lines), ceil(self.outputs / lines)
        return Tiling(a, b, ceil(self.inputs / a), ceil(self.outputs / b))


def linear(inputs: int, outputs: int, tokens: int = 1) -> Layer:
    """Return a fully connected layer, used once for each of ``tokens``."""
    return Layer("linear", inputs, outputs, tokens)


def convolution(
    channels: int, outputs: int, kernel: int, height: int, width: int, stride: int = 1
) -> Layer:
    """Return a square convolution with padding kernel // 2 on images of ``height`` x ``width``."""
    rows, columns = ((size - 1) // stride + 1 for size in (height, width))
    stored = channels * height * width
    return Layer("convolution", channels * kernel**2, outputs, rows * columns, stored)


def attention(width: int, tokens: int) -> list[Layer]:
    """Return the layers of a self-attention: one for queries, keys and values, scores, output."""
    scores = Layer("attention", width, width, tokens)
    return [linear(width, 3 * width, tokens), scores, linear(width, width, tokens)]


@dataclass(frozen=True)
class Stage:
    """The layers of one accelerator, and the values that a sample sends to its neighbours.

    ``sent`` go to the next stage, ``returned`` are errors for the one before; 0 where there is none.
    """

    layers: tuple[Layer, ...]
    sent: int = 0
    returned: int = 0

    @property
    def reads(self) -> int:
        """Array reads of a sample in a forward pass, one layer after another."""
        arrays = (layer for layer in self.layers if layer.kind != "attention")
        return sum(ceil(layer.positions / layer.replicas) for layer in arrays)


def pipeline(stages: Sequence[Sequence[Layer]]) -> list[Stage]:
    """Join layers to stages: each sends all outputs of its last layer, the first returns no error.

    Where pooling shrinks what is sent, or a residual connection adds to it, make ``Stage`` yourself.
    """
    parts = [list(stage) for stage in stages]
    if not all(parts):
        raise LayerError("a stage has no layers, each needs one or more")
    parts[0][0] = replace(parts[0][0], returns_error=False)
    sent = [part[-1].positions * part[-1].outputs for part in parts]
    sent[-1] = 0
    returned = [0, *(a for a, _ in pairwise(sent))]
    return [Stage(tuple(p), s, r) for p, s, r in zip(parts, sent, returned, strict=True)]


def cut(blocks: Sequence[Stage], stages: int, split: Sequence[int] | None = None) -> list[Stage]:
    """Cut a network into stages, each of whose ``blocks`` is given with what it sends.

    By ``split``, the number of blocks of each stage, or so that the slowest stage has as few array
    reads as possible, as training cuts it. Raises PartitionError.
    """
    parts = (
        partition([block.reads for block in blocks], stages)
        if split is None
        else from_sizes(split, len(blocks), stages)
    )
    sent = [blocks[part[-1]].sent for part in parts[:-1]]
    return [
        Stage(tuple(layer for i in part for layer in blocks[i].layers), to_next, to_previous)
        for part, to_next, to_previous in zip(parts, [*sent, 0], [0, *sent], strict=True)
    ]
