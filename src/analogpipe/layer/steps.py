"""Analog layers in a training loop of your own, beside an optimizer of torch.

    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    train_arrays(optimizer, net)

From then on ``optimizer.step`` also updates the arrays, at the learning rate of the layer's parameter
group. Or, by hand: :func:`update_arrays` after each step. ``zero_grad``, of modules and of optimizers,
drops pending updates as it drops gradients; where it keeps these, as zeros (``set_to_none=False``), only
that of an optimizer that trains arrays, and :func:`drop_updates`.

Arrays learn by analog SGD whatever the optimizer: momentum, decay and moments act on the digital
parameters alone (as in AIHWKit). Clipping and scaling of gradients do not reach arrays either: scale the
loss. In mixed precision all of them act on the gradient and on the residual, as on any parameter; decay acts
on the weight, residual and array together, where the optimizer trains arrays (not by :func:`update_arrays`).
"""

from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor, nn

from analogpipe.layer.base import AnalogLayer, LayerError


def analog_layers(module: nn.Module) -> list[AnalogLayer]:
    """Return the analog layers of ``module``, each once."""
    return [part for part in module.modules() if isinstance(part, AnalogLayer)]


def update_arrays(module: nn.Module, lr: float) -> None:
    """Apply the pending updates of all analog layers of ``module`` at the learning rate ``lr``.

    Raises:
        LayerError: see :meth:`analogpipe.layer.base.AnalogLayer.update`.
    """
    for layer in analog_layers(module):
        layer.update(lr)


def drop_updates(module: nn.Module) -> None:
    """Forget the pending updates of all analog layers of ``module``."""
    for layer in analog_layers(module):
        layer.drop_pending()


def train_arrays(optimizer: torch.optim.Optimizer, module: nn.Module) -> None:
    """Let ``optimizer`` train the arrays of ``module``, too.

    Raises:
        LayerError: a layer's parameters (its ``anchor``) are in no group of the optimizer, or in one
            that maximizes.
    """
    layers = {id(layer.anchor): layer for layer in analog_layers(module)}
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for key, layer in layers.items():
        if key not in held:
            raise LayerError(
                f"{layer.name}: the optimizer does not hold its anchor, which says at which learning "
                "rate the array is updated; allowed: an optimizer of module.parameters()"
            )

    held_weights: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def follow(stepped: torch.optim.Optimizer, *_: Any) -> None:
        for p, weight in held_weights:
            p.sub_(weight)
        held_weights.clear()
        for group in stepped.param_groups:
            if group.get("maximize"):
                raise LayerError("arrays only descend, found an optimizer with maximize=True")
            for p in group["params"]:
                if id(p) in layers:
                    layers[id(p)].update(float(group["lr"]))

    optimizer.register_step_pre_hook(partial(_gather, list(layers.values()), held_weights))
    optimizer.register_step_post_hook(follow)
    zero_grad = _dropping(optimizer.zero_grad, layers.values())
    optimizer.zero_grad = zero_grad  # type: ignore[method-assign]


@torch.no_grad()
def _gather(
    layers: list[AnalogLayer],
    held: list[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    *_: Any,
) -> None:
    """Let an optimizer that decays step whole weights: add to residuals what their arrays hold."""
    groups = [group["params"] for group in optimizer.param_groups if group.get("weight_decay")]
    decaying = {id(p) for group in groups for p in group}
    once = {id(p): (p, weight) for layer in layers for p, weight in layer.whole() or []}
    held[:] = [pair for key, pair in once.items() if key in decaying]
    for p, weight in held:
        p.add_(weight)


def _dropping(zero_grad: Callable[..., None], layers: Iterable[AnalogLayer]) -> Callable[..., None]:
    """Let a ``zero_grad`` drop the pending updates of ``layers``, too."""

    @wraps(zero_grad)
    def both(*args: Any, **options: Any) -> None:
        zero_grad(*args, **options)
        for layer in layers:
            layer.drop_pending()

    return both
