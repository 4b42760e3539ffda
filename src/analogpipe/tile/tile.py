"""An analog tile: an array, and the converters through which it is read."""

import json
from typing import Any, Self

import torch
from torch import Tensor, nn

from analogpipe.device.parameters import Ideal
from analogpipe.files import excerpt
from analogpipe.tile.agad import AgadArray
from analogpipe.tile.array import Array
from analogpipe.tile.attributes import submodule
from analogpipe.tile.change import Change, Samples
from analogpipe.tile.chopped import ChoppedArray
from analogpipe.tile.config import TileConfig
from analogpipe.tile.ideal import IdealArray
from analogpipe.tile.mapping import Scales
from analogpipe.tile.mixed_precision import MixedPrecisionArray
from analogpipe.tile.pair import PairArray
from analogpipe.tile.pulsed import PulsedArray, RewrittenArray
from analogpipe.tile.streams import Streams
from analogpipe.tile.tiki_taka import TikiTakaArray
from analogpipe.tile.weight import Weight

ARRAYS: tuple[type[Array], ...] = (
    MixedPrecisionArray,
    TikiTakaArray,
    ChoppedArray,
    AgadArray,
    PairArray,
    IdealArray,
    RewrittenArray,
    PulsedArray,
)
"""The kinds of arrays: a tile has the first one that takes its configuration."""


class AnalogTile(nn.Module):
    """An array of ``out`` rows and ``in`` columns, read through converters.

    Args:
        weight: initial weight (out, in); clipped into the bounds of the elements.
        config: device, update and read-out.
        seed, name: address of the random streams. The elements follow from them and are not part of
        the state dict, which only names them: it is loaded into no others.

    Reads and updates are those of the array: layers bring them to ``scales``
    (:mod:`analogpipe.tile.mapping`).

    In evaluation mode the read-out takes its noise from a stream of its own, so that evaluating
    leaves training as it is.
    """

    array: Array = submodule("array")
    scales: Scales = submodule("scales")

    def __init__(self, weight: Tensor, config: TileConfig, *, seed: int, name: str) -> None:
        super().__init__()
        if weight.dim() != 2:
            raise ValueError(f"the weight has {weight.dim()} dimensions, an array has 2")
        self.config = config
        self.streams = Streams(seed, name)
        kind = next(kind for kind in ARRAYS if kind.takes(config))
        with torch.inference_mode(False), torch.no_grad():
            # scales are made before the array is, which holds the weight in units of theirs
            self.scales = Scales(weight.shape[0], config.mapping)
            held = self.scales.fit(weight.detach().to(torch.float32).clone())
            self.array = kind(held, config, self.streams)
        self.array.note()

    @property
    def weight(self) -> Weight:
        """What reads of the array see, (out, in): a view. Its changes in place, and what is assigned,
        set it."""
        return Weight.of(self.array.settle())

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            self.set_weight(value)
        else:
            super().__setattr__(name, value)

    def set_weight(self, weight: Tensor) -> None:
        """Bring the elements to ``weight`` (out, in), clipped to their bounds.

        Raises:
            ValueError: the shape is another.
        """
        self.array.set_weight(weight)

    def set_whole(self, weight: Tensor) -> None:
        """Choose the scales for a weight of the layer, and bring the elements to what is left of it."""
        self.array.set_weight(self.scales.fit(weight))

    def whole(self) -> Tensor:
        """Return the weight of the layer, (out, in): what reads see, at scale; the live memory where
        there is no scale."""
        self.array.settle()
        scale = self.scales.whole()
        return self.array.weight if scale is None else self.array.weight * scale.unsqueeze(1)

    @property
    def address(self) -> tuple[int, str]:
        """Seed and name of the random streams."""
        return self.streams.seed, self.streams.name

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Form the products of reads and updates in ``dtype``, where they are large enough to gain
        (:mod:`analogpipe.tile.products`); float32 at first."""
        for part in self.array.modules():
            if isinstance(part, Array):
                part.settle()
                part.multiplies_in = dtype
                part.forget()

    def read_forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return ``x W^T`` as read, plus a digital ``bias`` (out,): (b, in) -> (b, out)."""
        array = self.array
        array.settle()
        return array.forward_reads(x, self.forward_stream(), bias)

    def read_backward(self, e: Tensor) -> Tensor:
        """Return ``e W`` as read through the transposed array: (b, out) -> (b, in)."""
        array = self.array
        array.settle()
        return array.backward_reads(e, self.backward_stream())

    def update(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Apply the change ``-lr e^T x`` wanted by one micro-batch: x (b, in), e (b, out)."""
        self.change(Samples(x, e), lr)

    def change(self, change: Change, lr: float) -> None:
        """Apply the change wanted by one micro-batch."""
        self.array.update(change, lr)

    def program(self) -> None:
        """Send to the array what its residual has for it, if it has one."""
        self.array.program(self.scales.alpha)

    def forward_stream(self) -> torch.Generator:
        """Return the noise stream of forward reads in the present mode."""
        return self.streams["forward" if self.training else "eval"]

    def backward_stream(self) -> torch.Generator:
        """Return the noise stream of backward reads."""
        return self.streams["backward"]

    def get_extra_state(self) -> Tensor:
        """Return the states of the random streams, (streams, bytes) uint8."""
        return self.streams.state()

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the random streams."""
        self.streams.load(state)

    def elements(self) -> dict[str, Any]:
        """Return what the elements follow from: the device, and the address if that draws any."""
        config = self.config
        device = config.device.model_dump(mode="json")
        if isinstance(config.device, Ideal):
            return device
        if config.transfer is not None and config.transfer.device is not None:
            device["fast"] = config.transfer.device.model_dump(mode="json")
        return {"seed": self.streams.seed, "name": self.streams.name, **device}

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        words = json.dumps(self.elements()).encode()
        destination[f"{prefix}elements"] = torch.tensor(list(words), dtype=torch.uint8)

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
        words = state_dict.pop(key := f"{prefix}elements", None)
        if words is None:
            missing_keys.append(key)
        elif fault := self._other(json.loads(bytes(words.tolist()))):
            error_msgs.append(
                f"{prefix.rstrip('.')}: the state is of other elements: {fault}; allowed: the same, or "
                "set_weight"
            )
            # nothing of it is loaded
            state_dict.update(self.state_dict(prefix=prefix))
            del state_dict[key]
        lists = missing_keys, unexpected_keys, error_msgs
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *lists)

    def _other(self, found: dict[str, Any]) -> str:
        """In what the elements of a state differ from these, in words; empty for nothing."""
        own = self.elements()
        keys = [key for key in {"kind": 0, **found, **own} if found.get(key) != own.get(key)]
        return ", ".join(
            f"{key} {excerpt(found.get(key))}, here {excerpt(own.get(key))}" for key in keys[:3]
        )

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        before = self.array.weight.device
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.array.weight.device != before:
            self.streams.to(self.array.weight.device)
        return self
