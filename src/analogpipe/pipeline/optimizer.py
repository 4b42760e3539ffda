"""The optimizer of a stage's parameters: one of torch.optim, stepped at the stage's own updates.

Its rules act on each element by itself, so that optimizers of stages move the parameters as one
optimizer of the whole network would, to the bit.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Make = Callable[[list[Tensor]], torch.optim.Optimizer]
"""Makes an optimizer of some parameters, such as ``functools.partial(torch.optim.AdamW, eps=1e-8)``."""


EMPTY: Mapping[Tensor, Tensor] = {}


class StageOptimizer:
    """Steps ``parameters`` by their gradients with an optimizer that ``make`` makes of them."""

    def __init__(self, parameters: Sequence[Tensor], make: Make) -> None:
        self._optimizer = make(list(parameters))

    @property
    def decays(self) -> bool:
        """Whether weights shrink."""
        return any(group.get("weight_decay") for group in self._optimizer.param_groups)

    def step(self, lr: float, held: Mapping[Tensor, Tensor] = EMPTY) -> None:
        """Step with the learning rate ``lr``; the gradients stay as they are.

        ``held`` is what arrays hold of a parameter's weights: the optimizer steps the sum.
        """
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        parameters, weights = list(held), list(held.values())
        if held:
            torch._foreach_add_(parameters, weights)
        self._optimizer.step()
        if held:
            torch._foreach_sub_(parameters, weights)

    def state_dict(self) -> dict[str, Tensor]:
        """Return momenta and counters as a flat dict ``parameter.name`` of tensors."""
        states = self._optimizer.state_dict()["state"].items()
        return {
            f"{i}.{name}": torch.as_tensor(value)
            for i, state in states
            for name, value in state.items()
            if value is not None
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Return to a state of :meth:`state_dict`."""
        nested: dict[int, dict[str, Any]] = {}
        for key, value in state.items():
            i, _, name = key.partition(".")
            nested.setdefault(int(i), {})[name] = value.clone()
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict({"state": nested, "param_groups": groups})
