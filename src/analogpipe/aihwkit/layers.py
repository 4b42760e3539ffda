"""AIHWKit's own layers in a pipeline: its tiles, our schedule. AIHWKit is not imported."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from analogpipe.aihwkit.state import AihwkitError, set_state, state_of

_PULSED = {"AnalogTile", "FloatingPointTile"}

_ModuleT = TypeVar("_ModuleT", bound=nn.Module)


def from_aihwkit(model: _ModuleT) -> _ModuleT:
    """Put each layer of AIHWKit's in ``model`` into an :class:`AihwkitLayer`, and return the model.

    The model itself is changed, as its arrays cannot be copied; :func:`to_aihwkit` takes it back. Where
    ``model`` is a layer, the new layer is returned. Updates that wait for an optimizer of AIHWKit's
    are forgotten.

    Raises:
        AihwkitError: there is no such layer, or one does not learn by updates of its tile.
    """
    made: dict[nn.Module, nn.Module] = {}
    layers = [(path, part) for path, part in model.named_modules() if _is_layer(part)]
    if not layers:
        raise AihwkitError(f"{type(model).__name__}: found no layer of AIHWKit's")
    for path, layer in layers:
        made[layer] = AihwkitLayer(layer, path or type(layer).__name__)
    return _replaced(model, made)


def to_aihwkit(model: _ModuleT) -> _ModuleT:
    """Undo :func:`from_aihwkit`: put AIHWKit's layers where they were, and return the model."""
    found = [part for part in model.modules() if isinstance(part, AihwkitLayer)]
    made: dict[nn.Module, nn.Module] = {part: part.layer for part in found}
    for part in found:
        part.layer.train(part.training)
    return _replaced(model, made)


class AihwkitLayer(nn.Module):
    """A layer of AIHWKit's that a pipeline trains (:class:`analogpipe.pipeline.layer.ArrayLayer`).

    Forward and backward are AIHWKit's. What its backward passes leave for an optimizer is applied by
    :meth:`update`, as AnalogSGD does at its steps: all of it in one update of the tile, then what comes
    after an update (decay, diffusion). The layer's digital parameters are parameters here.

    ``anchor``, a parameter without elements, stands for the arrays: where it is frozen, so are they.

    Args:
        layer: any leaf of AIHWKit's layers, with one tile or several.
        name: what error messages call it.
    """

    layer: nn.Module

    def __init__(self, layer: nn.Module, name: str) -> None:
        super().__init__()
        self.name = name
        # no part of this module: its parameters and its state are other ones
        self.__dict__["layer"] = layer
        self._tiles: list[Any] = list(layer.analog_tiles())  # type: ignore[operator]
        for tile in self._tiles:
            if reason := _obstacle(tile):
                raise AihwkitError(f"{name}: {reason}")
            tile.analog_ctx.reset()
        if hasattr(layer, "kernel_size"):
            self.kernel_size = layer.kernel_size
        self.anchor = nn.Parameter(torch.empty(0))
        self.anchor.requires_grad_(any(tile.analog_ctx.requires_grad for tile in self._tiles))
        contexts = {id(tile.analog_ctx) for tile in self._tiles}
        for path, parameter in layer.named_parameters():
            if id(parameter) not in contexts:
                self.register_parameter(path.replace(".", "_"), parameter)
        self._passes: set[int] = set()
        self._passes_before = 0
        self.train(layer.training)

    def forward(self, x: Tensor) -> Tensor:
        """Run AIHWKit's layer."""
        if self.layer.training != self.training:
            self.layer.train(self.training)
        for tile in self._tiles:
            tile.analog_ctx.requires_grad_(self.anchor.requires_grad)
        y: Tensor = self.layer(x)
        if y.requires_grad:
            y.register_hook(self._count)  # type: ignore[no-untyped-call]
        return y

    def update(self, lr: float) -> None:
        """Apply the pending micro-batches, ``n`` of them, at the learning rate ``n lr`` with the mean
        of their errors, and clear them.

        So rates that do not scale with that of the training (``fast_lr``) see the errors that they see
        in AIHWKit with a batch of all micro-batches.
        """
        count = self._passes_before + len(self._passes)
        for tile in self._tiles:
            context = tile.analog_ctx
            if self.anchor.requires_grad and count and lr != 0 and context.has_gradient():
                tile.set_learning_rate(lr * count)
                _update(tile, context, count)
            context.reset()
            if self.anchor.requires_grad:
                tile.post_update_step()
        self._passes.clear()
        self._passes_before = 0

    def pending_state(self) -> list[Tensor]:
        """Return the pending micro-batches: their number, then inputs and errors of each tile."""
        contexts = [tile.analog_ctx for tile in self._tiles]
        counts = [len(context.analog_input) for context in contexts]
        state = [torch.tensor([self._passes_before + len(self._passes), *counts])]
        for context in contexts:
            state += [*context.analog_input, *context.analog_grad_output]
        return state

    def load_pending(self, pending: list[Tensor]) -> None:
        """Replace the pending micro-batches."""
        self._passes.clear()
        self._passes_before, *counts = (
            pending[0].tolist() if pending else [0] * (1 + len(self._tiles))
        )
        rest = iter(pending[1:])
        for tile, count in zip(self._tiles, counts, strict=True):
            tile.analog_ctx.analog_input = [next(rest) for _ in range(count)]
            tile.analog_ctx.analog_grad_output = [next(rest) for _ in range(count)]

    def weights(self) -> list[Tensor]:
        """Raise AihwkitError: no other weight can be read for a while, as a prediction needs it."""
        raise AihwkitError(
            f"{self.name}: an array of AIHWKit's cannot be read as if it were shifted; allowed: a run "
            "without prediction of weights"
        )

    def whole(self) -> list[tuple[Tensor, Tensor]] | None:
        """Return None: an optimizer reaches no weight of AIHWKit's (nothing where it is frozen)."""
        return None if self.anchor.requires_grad else []

    def extra_repr(self) -> str:
        """That of AIHWKit's layer, with its class."""
        return f"{type(self.layer).__name__}({self.layer.extra_repr()})"

    def __getstate__(self) -> dict[str, Any]:
        raise AihwkitError(f"{self.name}: a copy of AIHWKit's tiles would not hold what they hold")

    def _count(self, gradient: Tensor) -> None:
        # one for each backward pass, in which the layer may stand several times
        self._passes.add(torch._C._current_graph_task_id())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "AihwkitLayer":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.layer._apply(fn)  # type: ignore[no-untyped-call]
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[f"{prefix}anchor"]  # it holds nothing
        for i, tile in enumerate(self._tiles):
            for key, value in state_of(tile).items():
                destination[f"{prefix}tiles.{i}.{key}"] = value

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        for i, tile in enumerate(self._tiles):
            start = f"{prefix}tiles.{i}."
            keys = [key for key in state_dict if key.startswith(start)]
            if not keys:
                missing_keys.append(f"{start}weight")
                continue
            try:
                set_state(tile, {key.removeprefix(start): state_dict.pop(key) for key in keys})
            except AihwkitError as error:
                error_msgs.append(f"{self.name}: {error}")
        state_dict[f"{prefix}anchor"] = self.anchor
        lists = missing_keys, unexpected_keys, error_msgs
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *lists)
        del state_dict[f"{prefix}anchor"]


def _update(tile: Any, context: Any, count: int) -> None:
    """One update of a tile by all that waits, as in AnalogSGD, with errors divided by ``count``."""
    inputs = [x.to(tile.device) for x in context.analog_input]
    errors = [e.to(tile.device) for e in context.analog_grad_output]
    if count > 1:
        errors = [e / count for e in errors]
    if context.use_indexed:
        for x, e in zip(inputs, errors, strict=True):
            tile.update_indexed(x, e)
        return
    x = torch.cat(inputs, -1 if tile.in_trans else 0)
    tile.update(x, torch.cat(errors, -1 if tile.out_trans else 0))


def _is_layer(module: nn.Module) -> bool:
    """Whether a module is a leaf of AIHWKit's layers."""
    kinds = [kind.__name__ for kind in type(module).__mro__ if _is_theirs(kind)]
    return "AnalogLayerBase" in kinds and not getattr(module, "IS_CONTAINER", False)


def _is_theirs(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "aihwkit"


def _obstacle(tile: Any) -> str | None:
    """Why a pipeline cannot train a tile, None where it can."""
    kinds = {kind.__name__ for kind in type(tile).__mro__ if _is_theirs(kind)}
    if not kinds & _PULSED or tile.shared_weights is not None:
        return (
            f"{type(tile).__name__} does not learn by updates of its tile, but by an optimizer of "
            f"torch or not at all; allowed: {', '.join(sorted(_PULSED))}"
        )
    return None


def _replaced(model: _ModuleT, made: dict[nn.Module, nn.Module]) -> _ModuleT:
    """Put the modules of ``made`` where those that they stand for are, in ``model`` itself."""
    for parent in list(model.modules()):
        if isinstance(parent, AihwkitLayer) or parent in made:
            continue
        for name, child in _children(parent):
            if child in made:
                parent._modules[name] = made[child]
    whole: Any = made.get(model, model)
    return whole  # type: ignore[no-any-return]


def _children(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, child) for name, child in list(module._modules.items()) if child is not None)
