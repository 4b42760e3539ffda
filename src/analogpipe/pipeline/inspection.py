"""What is found out about the modules of stages, so that nothing trains that would train wrong."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.layer import is_array_layer

_OF_TORCH = frozenset(vars(nn.Module()))
"""What torch itself keeps in a module: hooks, the mode, parts."""


def refuse_modules(stages: Sequence[nn.Module]) -> None:
    """Raise StageError for parameters that are not there yet, and tensors that two stages share."""
    holders: dict[int, tuple[int, str]] = {}
    for m, stage in enumerate(stages, start=1):
        for name, tensor in _tensors(stage):
            if is_lazy(tensor):
                raise StageError(
                    f"stage {m}: {name} has no shape yet (a lazy module); run the network once first"
                )
            if tensor.numel() == 0:
                continue
            key = tensor.untyped_storage().data_ptr()
            other, its = holders.setdefault(key, (m, name))
            if other != m:
                raise StageError(
                    f"stage {m}: {name} is {its} of stage {other}; allowed are weights and buffers "
                    "of one stage alone, as accelerators share no memory"
                )


def refuse_surroundings(device: torch.device) -> None:
    """Raise StageError inside of contexts under which training would be wrong, or nothing trained."""
    if not torch.is_grad_enabled():
        raise StageError("found torch.no_grad around the run, under which nothing is trained")
    if torch.is_autocast_enabled(device.type):
        raise StageError(
            "found torch.autocast around the run, which keeps cast weights over their updates; "
            "allowed is autocast inside a module"
        )
    if getattr(parametrize, "_cache_enabled", 0):
        raise StageError(
            "found parametrize.cached around the run, which keeps computed weights over their updates"
        )


class Inspection:
    """Looks at the first forwards of a stage's module, for what later ones need not look for.

    The first is for modules to set up what they keep. What changes in the second besides parameters
    and persistent buffers is watched in the third: a module that reads it before it writes it
    depends on the micro-batches before, which no checkpoint holds.

    ``changes_input``: whether the module writes to its input, which then must be a copy.
    ``done``: whether enough was seen.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._parts = [(name, p) for name, p in _parts(module) if not _of_torch_alone(p)]
        self._changing: dict[str, list[str]] = {}
        self._looked = 0
        self.changes_input = self.done = False

    def forward(self, x: Tensor) -> Tensor:
        """Run the module on a copy of ``x``. Raises StageError for what it cannot be trained with."""
        copy = x.clone()
        versions = [(name, p, p._version) for name, p in self._module.named_parameters()]
        if self._changing:
            y = self._watched(copy)
        else:
            before = kept(self._parts) if self._looked else {}
            y = self._module(copy)
            after = kept(self._parts) if self._looked else {}
            for place, value in after.items():
                if before.get(place, ...) != value:
                    self._changing.setdefault(place[0], []).append(place[1])
        self._looked += 1
        self.done = self._looked == (3 if self._changing else 2)
        self.changes_input |= copy._version > 0
        for name, p, version in versions:
            if p._version != version:
                raise StageError(f"{name}: the module changes this parameter in its forward")
        return y

    def _watched(self, x: Tensor) -> Tensor:
        """Run the module; refuse one that reads what it has kept from the micro-batch before."""
        read: list[str] = []
        kinds = {name: type(part) for name, part in self._parts if name in self._changing}
        parts = dict(self._parts)
        for name, kind in kinds.items():
            parts[name].__class__ = _reading(kind, name, set(self._changing[name]), read)
        try:
            y: Tensor = self._module(x)
        finally:
            for name, kind in kinds.items():
                parts[name].__class__ = kind
        if read:
            raise StageError(
                f"{read[0]}: the module keeps this from micro-batch to micro-batch, and no "
                "checkpoint holds it; allowed are registered buffers that are persistent"
            )
        return y


class Steady:
    """The buffers of a stage that no backward may change, as one does that computes a layer with
    running statistics once more (activation checkpointing): the order of forwards and backwards
    would matter. Those of array layers are their own matter."""

    def __init__(self, module: nn.Module) -> None:
        self._names = []
        self._buffers = []
        for name, part in _parts(module):
            for key, buffer in part.named_buffers(recurse=False):
                self._names.append(f"{name}.{key}" if name else key)
                self._buffers.append(buffer)
        self._looked = False

    @contextmanager
    def over_backward(self) -> Iterator[None]:
        """Raise StageError where a backward in this context changes one."""
        versions = [buffer._version for buffer in self._buffers]
        values = [] if self._looked else [buffer.clone() for buffer in self._buffers]
        yield
        changed = [buffer._version != v for buffer, v in zip(self._buffers, versions, strict=True)]
        if not self._looked:  # norms of torch change values without a word to versions
            pairs = zip(self._buffers, values, strict=True)
            changed = [not torch.equal(buffer, value) for buffer, value in pairs]
            self._looked = True
        if any(changed):
            raise StageError(
                f"{self._names[changed.index(True)]}: the module changes this buffer in its backward; "
                "allowed under activation checkpointing are layers without running statistics"
            )

    def __bool__(self) -> bool:
        return bool(self._buffers)


def _reading(kind: type[nn.Module], name: str, keys: set[str], read: list[str]) -> type[nn.Module]:
    """A class like ``kind`` that notes the ``keys`` that are read before they are written."""

    class Reading(kind):  # type: ignore[misc, valid-type]
        def __getattribute__(self, key: str) -> Any:
            if key in keys:
                read.append(f"{name}.{key}" if name else key)
            return super().__getattribute__(key)

        def __setattr__(self, key: str, value: object) -> None:
            super().__setattr__(key, value)
            keys.discard(key)

    return Reading


def _parts(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The modules whose state is all in parameters and buffers, with their names."""
    layers = [part for part in module.modules() if is_array_layer(part)]
    apart = {id(part) for layer in layers for part in layer.modules()}
    own = nn.Module.get_extra_state
    return [
        (name, part)
        for name, part in module.named_modules()
        if id(part) not in apart and type(part).get_extra_state is own
    ]


def _of_torch_alone(part: nn.Module) -> bool:
    """Whether a module is torch's own, which keeps its state in buffers, and runs no code of others."""
    hooks = part._forward_hooks or part._forward_pre_hooks or part._non_persistent_buffers_set
    return type(part).__module__.startswith("torch.nn.modules.") and not hooks


def kept(parts: Iterable[tuple[str, nn.Module]]) -> dict[tuple[str, str], Any]:
    """What modules keep besides parameters and persistent buffers, in a form that can be compared."""
    found = {}
    for name, part in parts:
        for key, value in vars(part).items():
            if key == "_buffers":
                for buffer, tensor in value.items():
                    if buffer in part._non_persistent_buffers_set:
                        found[name, buffer] = _form(tensor)
            elif key == "_parameters":
                found |= {(name, parameter): id(p) for parameter, p in value.items()}
            elif key not in _OF_TORCH:
                found[name, key] = _form(value)
    return found


def _form(value: object, depth: int = 2) -> Any:
    """A value as something that differs when the value has changed."""
    if isinstance(value, Tensor):
        return id(value), value._version
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return value
    if isinstance(value, torch.Generator):
        return bytes(value.get_state().numpy())
    if depth and isinstance(value, list | tuple | deque | set | frozenset):
        return [_form(entry, depth - 1) for entry in value]
    if depth and isinstance(value, dict):
        return [(_form(key, 0), _form(entry, depth - 1)) for key, entry in value.items()]
    return id(value)


def _tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]
