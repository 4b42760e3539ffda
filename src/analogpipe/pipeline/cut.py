"""Cutting a network into the stages of a pipeline, so that the slowest is as fast as can be."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from analogpipe.pipeline.follow import Blocks, FollowError, follow, is_plain
from analogpipe.pipeline.reads import reads
from analogpipe.schedule.partition import partition


class CutError(ValueError):
    """A network that cannot be cut as asked."""


def cut(
    blocks: nn.Module | Sequence[nn.Module], stages: int, example: Tensor
) -> list[nn.Sequential]:
    """Return the stages of a network, balanced by their array reads for a micro-batch ``example``.

    The elements of a list (or ModuleList) stay whole. An ``nn.Sequential`` is cut between any of its
    modules, those of a Sequential in it too. The forward of any other module is followed by torch.fx
    (:mod:`analogpipe.pipeline.follow`) and cut where one tensor passes; modules in it are opened only
    if that gives too few places. Numbers that such a forward reads are those of now. What reads no
    array (activations, pooling) stays with the layer before it.

    The modules themselves are put into the stages, not copies. Analog and digital layers cost the
    same (see :func:`analogpipe.pipeline.reads.reads`); matrices that are no layers of their own, as
    in attention or a GRU, count as none.

    Raises:
        CutError: a forward cannot be followed, a block does not run on what the one before it gives or
            gives no tensor, there are fewer blocks than stages, or stages would share a weight.
    """
    followed = isinstance(blocks, nn.Module) and not isinstance(blocks, nn.ModuleList)
    if isinstance(blocks, nn.Module) and followed and not is_plain(blocks):
        parts, pieces, costs = _followed(blocks, stages, example)
    else:
        parts = _parts(blocks)
        costs = _costs(parts, example)
        pieces = _pieces(costs) if followed else [[i] for i in range(len(costs))]
    if not 1 <= stages <= len(pieces):
        raise CutError(
            f"stages is {stages}, allowed is 1 to {len(pieces)}, the number of blocks of the network"
        )
    ranges = partition([sum(costs[i] for i in piece) for piece in pieces], stages)
    chosen = [[i for j in part for i in pieces[j]] for part in ranges]
    _refuse_sharing([[parts[i] for i in stage] for stage in chosen])
    return [nn.Sequential(*(parts[i][1] for i in stage)) for stage in chosen]


def _costs(parts: Blocks, example: Tensor) -> list[int]:
    if not parts:
        raise CutError("found no block to cut")
    return reads([_Watched(path, block) for path, block in parts], example)


def _followed(
    model: nn.Module, stages: int, example: Tensor
) -> tuple[Blocks, list[list[int]], list[int]]:
    """The blocks of a model, opened as deep as so many stages need."""
    depth, more = 0, True
    while more:
        depth += 1
        try:
            parts, more = follow(model, depth, example)
        except FollowError as error:
            raise CutError(
                f"{type(model).__name__}: its forward {error}; allowed: an nn.Sequential, a list of "
                "blocks, or a forward that does the same to any input"
            ) from None
        costs = _costs(parts, example)
        pieces = _pieces(costs)
        more = more and len(pieces) < stages
    return parts, pieces, costs


def _parts(blocks: nn.Module | Sequence[nn.Module]) -> Blocks:
    """The smallest modules that a Sequential can be cut between, or those of a list, with their paths."""
    if isinstance(blocks, nn.Sequential):
        return list(_inside("", blocks))
    assert isinstance(blocks, Sequence | nn.ModuleList)
    for i, block in enumerate(blocks):
        if not isinstance(block, nn.Module):
            raise CutError(f"block {i}: found {type(block).__name__}, allowed: a torch module")
    return [(str(i), block) for i, block in enumerate(blocks)]


def _inside(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of nested Sequentials that do nothing but call them in order."""
    if not is_plain(module):
        yield path or "all", module
        return
    for name, child in module._modules.items():
        if child is not None:
            yield from _inside(f"{path}.{name}" if path else name, child)


def _pieces(costs: Sequence[int]) -> list[list[int]]:
    """Modules that stay together: each that reads an array with those after it that do not."""
    pieces: list[list[int]] = [[]]
    for i, cost in enumerate(costs):
        if cost and any(costs[j] for j in pieces[-1]):
            pieces.append([])
        pieces[-1].append(i)
    return pieces


def _refuse_sharing(stages: list[list[tuple[str, nn.Module]]]) -> None:
    """Raise CutError where two stages hold one parameter, array or buffer: two accelerators cannot."""
    holders: dict[int, tuple[int, str]] = {}
    for stage, parts in enumerate(stages, start=1):
        for path, module in parts:
            parameters = module.named_parameters(path, remove_duplicate=False)
            buffers = module.named_buffers(path, remove_duplicate=False)
            for name, tensor in (*parameters, *buffers):
                first, place = holders.setdefault(id(tensor), (stage, name))
                if first != stage:
                    raise CutError(
                        f"{name} in stage {stage} is {place} in stage {first}; allowed: weights that "
                        "are in one stage alone"
                    )


class _Watched(nn.Module):
    """A block that names itself when it cannot run."""

    def __init__(self, name: str, block: nn.Module) -> None:
        super().__init__()
        self.name, self.block = f"block {name} ({type(block).__name__})", block

    def forward(self, x: Tensor) -> Tensor:
        """Run the block. Raises CutError."""
        try:
            y = self.block(x)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise CutError(f"{self.name} does not run on {tuple(x.shape)}: {reason}") from None
        if not isinstance(y, Tensor):
            raise CutError(f"{self.name}: found {type(y).__name__}, stages exchange one tensor")
        return y
