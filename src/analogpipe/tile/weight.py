"""The weight of an array as others see it."""

from typing import Any, NoReturn

import torch
from torch import Tensor


class Weight(Tensor):
    """A view of an array's weight, of which every change in place reaches the array.

    The array notices a change by the version of its memory, at its next use, and takes it as a request to
    set the weight (:meth:`analogpipe.tile.array.Array.set_weight`). Torch's ``.data`` would hide changes:
    here it does not. What is computed from it is an ordinary tensor.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def of(memory: Tensor) -> "Weight":
        """Return a view of ``memory``."""
        return memory.as_subclass(Weight)

    @property
    def data(self) -> Tensor:
        """The same memory, under the same version."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        with torch.no_grad():
            self.copy_(value)

    @property
    def requires_grad(self) -> bool:
        """False: arrays take updates, not gradients."""
        return False

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        _refuse(value)

    def requires_grad_(self, requires_grad: bool = True) -> NoReturn:
        """Refused: it is the layer that is frozen or trained."""
        _refuse(requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return self.as_subclass(Tensor).clone()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.as_subclass(Tensor).__reduce_ex__(protocol)  # type: ignore[no-untyped-call]


def _refuse(value: bool) -> NoReturn:
    raise ValueError(
        f"weight.requires_grad = {value}: an array's weight is no parameter; allowed: "
        f"layer.requires_grad_({value})"
    )
