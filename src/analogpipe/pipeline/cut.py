"""Cutting a network into the stages of a pipeline, so that the slowest is as fast as can be."""

from collections.abc import Iterator, Sequence

from torch import Tensor, nn

from analogpipe.pipeline.reads import reads
from analogpipe.schedule.partition import partition


class CutError(ValueError):
    """A network that cannot be cut as asked."""


def cut(
    blocks: nn.Sequential | Sequence[nn.Module], stages: int, example: Tensor
) -> list[nn.Sequential]:
    """Return the stages of a network, balanced by their array reads for a micro-batch ``example``.

    The elements of a list (or ModuleList) stay whole. An ``nn.Sequential`` is cut between any of its
    modules, those of a Sequential in it too; what reads no array (activations, pooling) stays with
    the layer before it. The modules themselves are put into the stages, not copies. Analog and
    digital layers cost the same (see :func:`analogpipe.pipeline.reads.reads`); matrices that are no
    layers of their own, as in attention or a GRU, count as none.

    Raises:
        CutError: the network is no sequence, a block does not run on what the one before it gives or
            gives no tensor, there are fewer blocks than stages, or stages would share a weight.
    """
    parts = _parts(blocks)
    if not parts:
        raise CutError("found no block to cut")
    costs = reads([_Watched(path, block) for path, block in parts], example)
    pieces = (
        _pieces(costs) if isinstance(blocks, nn.Sequential) else [[i] for i in range(len(costs))]
    )
    if not 1 <= stages <= len(pieces):
        raise CutError(
            f"stages is {stages}, allowed is 1 to {len(pieces)}, the number of blocks of the network"
        )
    ranges = partition([sum(costs[i] for i in piece) for piece in pieces], stages)
    chosen = [[i for j in part for i in pieces[j]] for part in ranges]
    _refuse_sharing([[parts[i] for i in stage] for stage in chosen])
    return [nn.Sequential(*(parts[i][1] for i in stage)) for stage in chosen]


def _parts(blocks: nn.Sequential | Sequence[nn.Module]) -> list[tuple[str, nn.Module]]:
    """The smallest modules that a network can be cut between, with their paths."""
    if isinstance(blocks, nn.Sequential):
        return list(_inside("", blocks))
    if isinstance(blocks, nn.Module) and not isinstance(blocks, nn.ModuleList):
        inside = ", ".join(name for name, _ in blocks.named_children()) or "nothing"
        raise CutError(
            f"{type(blocks).__name__} is no sequence, its forward alone knows the order of what is in "
            f"it ({inside}); allowed: an nn.Sequential or a list of blocks"
        )
    for i, block in enumerate(blocks):
        if not isinstance(block, nn.Module):
            raise CutError(f"block {i}: found {type(block).__name__}, allowed: a torch module")
    return [(str(i), block) for i, block in enumerate(blocks)]


def _inside(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules of nested Sequentials that do nothing but call them in order."""
    plain = type(module).forward is nn.Sequential.forward and "forward" not in vars(module)
    hooked = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks
    if not plain or hooked or not module._modules:
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
