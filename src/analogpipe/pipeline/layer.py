"""What a pipeline knows of layers whose weights are no parameters, such as analog ones."""

from collections.abc import Iterator, Sequence
from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn


class ArrayLayer(Protocol):
    """A module with weights in arrays of its own, which learns by updates and not by gradients.

    A backward pass leaves its update pending; who trains the layer calls :meth:`update`.
    """

    def update(self, lr: float) -> None:
        """Apply the pending micro-batches in their order and clear them."""

    def pending_state(self) -> list[Tensor]:
        """Return the pending micro-batches, for a checkpoint."""

    def load_pending(self, pending: list[Tensor]) -> None:
        """Replace the pending micro-batches."""

    def weights(self) -> list[Tensor]:
        """Return the live tensors of the weights that a forward pass reads."""

    def buffers(self) -> Iterator[Tensor]:
        """Return the tensors of its arrays, as any module does."""

    def whole(self) -> list[tuple[Tensor, Tensor]] | None:
        """Return the parameters that stand for weights in an optimizer, each with what its array holds
        of them already: the weight is the sum. None where an optimizer cannot reach the weights."""


_NAMES = ("update", "pending_state", "load_pending", "weights", "whole")


def is_array_layer(module: nn.Module) -> bool:
    """Whether a module is such a layer, by what its class offers."""
    kind = type(module)
    return all(hasattr(kind, name) for name in _NAMES)


def array_layers(module: nn.Module) -> list[ArrayLayer]:
    """Return the parts of ``module`` that are such layers."""
    return [cast(ArrayLayer, part) for part in module.modules() if is_array_layer(part)]


@runtime_checkable
class ArrayGroup(Protocol):
    """A module with several array layers that are read at the same time."""

    def arrays(self) -> Sequence[nn.Module]:
        """Return them."""
