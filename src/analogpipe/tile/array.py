"""What all arrays are: a weight that reads see, and a way to take an update."""

from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn

from analogpipe.tile.attributes import buffer, parameter
from analogpipe.tile.change import Change
from analogpipe.tile.config import TileConfig
from analogpipe.tile.kernels.backend import Kernels, kernels_of
from analogpipe.tile.read import Reads
from analogpipe.tile.streams import Streams


class Array(nn.Module):
    """An array of ``out`` rows and ``in`` columns; each kind of array is a subclass, in its own file.

    Its state is in buffers (or parameters), so that it moves, is saved and is copied as that of any
    module. The elements, which follow from the address of ``streams``, are attributes: a subclass
    moves them in :meth:`moved`. What an array keeps of views of its memory are cached properties.

    Whoever uses an array calls :meth:`settle` before: the weight may have been changed in place.

    Args:
        weight: initial weight (out, in), float32; the array's own from here on.
        streams: those of the tile; ``update`` is for the array.
    """

    weight: Tensor = buffer("weight")
    """What reads see, (out, in)."""
    residual: nn.Parameter | None = parameter("residual")
    """In its place a gradient is wanted; None where the array takes the change itself."""
    slots: Tensor
    """Slots of all pulse trains that updates have sent so far (1,) int64: their time on hardware."""
    multiplies_in = torch.float32
    """The dtype of its products (:mod:`analogpipe.tile.products`), of reads and of updates."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__()
        self.config, self.streams = config, streams
        self.watched = True
        """Whether a change of the weight in place is taken as a request to set it."""
        self._seen = 0, 0
        self._shape = weight.shape
        self.register_parameter("residual", None)
        self.keep(weight)
        # int64, which no cast of a module changes
        self.register_buffer("slots", torch.zeros(1, dtype=torch.int64))
        self.register_load_state_dict_post_hook(_loaded)  # type: ignore[no-untyped-call]

    @classmethod
    def takes(cls, config: TileConfig) -> bool:
        """Whether this is the kind of array that ``config`` asks for."""
        raise NotImplementedError

    @classmethod
    def fires_samples(cls, config: TileConfig) -> bool:
        """Whether an update of such an array asks a change for its samples, one by one."""
        raise NotImplementedError

    def keep(self, weight: Tensor) -> None:
        """Take ``weight`` as the array's memory."""
        self.register_buffer("weight", weight)

    def change(self, change: Change, lr: float) -> None:
        """Apply the change that a micro-batch wants, at a learning rate that is not 0."""
        raise NotImplementedError

    def gradient(self, change: Change) -> Tensor:
        """Return the gradient for the residual, (out, in); of arrays that have one."""
        raise NotImplementedError

    def program(self, alpha: Tensor | None) -> None:
        """Send to the elements what the residual has for them, at a scale ``alpha`` of the array."""

    def place(self, weight: Tensor) -> None:
        """Bring the elements to ``weight`` (out, in), or as near as they can be."""
        raise NotImplementedError

    def hold(self) -> None:
        """Bring a state that was loaded into the bounds of the elements."""

    def moved(self, device: torch.device) -> None:
        """Follow the buffers to ``device``."""

    def at_once(self, x: Tensor, e: Tensor, lr: float) -> bool:
        """Apply what the samples of a fully connected layer want, x (b, in) and e (b, out), as
        :meth:`update` would, in one call; return False where that cannot be done."""
        return False

    @torch.no_grad()
    def update(self, change: Change, lr: float) -> None:
        """Apply the change that a micro-batch wants."""
        if lr != 0:
            self.settle()
            self.change(change, lr)
            self.note()

    @torch.no_grad()
    def set_weight(self, weight: Tensor) -> None:
        """Bring the elements to ``weight`` (out, in), clipped to their bounds.

        Raises:
            ValueError: the shape is another.
        """
        self.settle()
        if weight.shape != self.weight.shape:
            raise ValueError(
                f"the weight has shape {tuple(weight.shape)}, the array {tuple(self.weight.shape)}"
            )
        # a copy: it may be a view of this array
        self.place(weight.detach().to(self.weight, copy=True))
        self.note()

    def settle(self) -> Tensor:
        """Make of a weight that was changed in place, or given other memory, one that was set, and
        return it.

        Raises:
            ValueError: the memory that it was given does not fit.
        """
        weight = self.weight
        if self.watched and self._seen != (weight._version, weight.data_ptr()):
            self._take(weight)
        return weight

    @torch.no_grad()
    def _take(self, weight: Tensor) -> None:
        if weight.shape != self._shape or weight.dtype != torch.float32:
            raise ValueError(
                f"the weight was given memory of shape {tuple(weight.shape)}, {weight.dtype}; the "
                f"array has {tuple(self._shape)}, torch.float32"
            )
        self.forget()
        self.place(weight.clone())
        self.note()

    def note(self) -> None:
        """Take the weight as it stands: what comes after is a change from outside."""
        weight = self.weight
        # past the checks of modules, which take longer
        self.__dict__["_seen"] = weight._version, weight.data_ptr()

    @cached_property
    def forward_reads(self) -> Reads:
        """Reads of the array from its columns to its rows."""
        return Reads(self.weight.t(), self.config.forward, self.kernels, self.multiplies_in)

    @cached_property
    def backward_reads(self) -> Reads:
        """Reads of the array from its rows to its columns."""
        return Reads(self.weight, self.config.backward, self.kernels, self.multiplies_in)

    @cached_property
    def kernels(self) -> Kernels:
        """What does the work on the elements."""
        return kernels_of(self.weight)

    def forget(self) -> None:
        """Drop what is made of views of the array's memory; it is made anew when it is needed."""
        for name in self._views():
            self.__dict__.pop(name, None)

    @classmethod
    def _views(cls) -> set[str]:
        return {
            name
            for kind in cls.__mro__
            for name, value in vars(kind).items()
            if isinstance(value, cached_property)
        }

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        self.settle()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(
        self, state_dict: Any, prefix: str, local_metadata: Any, *rest: Any
    ) -> None:
        # values are taken, never the tensors: others may hold those, or they may lie elsewhere
        metadata = {**local_metadata, "assign_to_params_buffers": False}
        super()._load_from_state_dict(state_dict, prefix, metadata, *rest)

    def __getstate__(self) -> dict[str, Any]:
        # a copy makes its own views, and has other memory
        self.settle()
        own = self._views() | {"_seen"}
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.note()

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self.settle()
        before = self.weight.device
        found = fn(torch.empty(0, device=before)).dtype
        if found != torch.float32:
            raise ValueError(f"an array is torch.float32 and cannot be made {found}")
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.weight.device != before:
            self.moved(self.weight.device)
        self.forget()
        self.note()
        return self

    def extra_repr(self) -> str:
        """Rows and columns."""
        return f"{self.weight.shape[0]} x {self.weight.shape[1]}"


@torch.no_grad()
def _loaded(array: Array, _: object) -> None:
    array.hold()
    array.note()
