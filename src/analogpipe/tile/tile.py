"""An analog tile: one array with its elements, its noise streams and its weight."""

from typing import Any

import torch
from torch import Tensor, nn

from analogpipe.device.parameters import Ideal, OneSided
from analogpipe.device.response import Response, draw
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, TransferConfig
from analogpipe.tile.pair import Pair, PairUpdater
from analogpipe.tile.read import read
from analogpipe.tile.tiki_taka import SINGLE_PULSES, Transfer
from analogpipe.tile.update import Updater, ideal

STREAMS = ("update", "forward", "backward", "eval")
"""Forward and backward reads have streams of their own, so that noise does not depend on how a
schedule interleaves them."""


class AnalogTile(nn.Module):
    """An array of ``out`` rows and ``in`` columns.

    Args:
        weight: initial weight (out, in); clipped into the bounds of the elements.
        config: device, update and read-out.
        seed, name: address of the random streams. The elements follow from them and are not part of
        the state dict.

    In evaluation mode the read-out takes its noise from a stream of its own, so that evaluating
    leaves training as it is.
    """

    weight: Tensor
    fast: Tensor | None
    """State of the fast array of Tiki-Taka."""
    transfer_buffer: Tensor | None
    transfer_position: Tensor | None
    state: Tensor | None
    """State of the elements where it is not the weight: where writing is noisy, ``weight`` is what
    reads see; in a one-sided pair, g+ above g- (2 out, in)."""
    refresh_waited: Tensor | None
    """Micro-batches since the last refresh of a one-sided pair, (1,)."""

    def __init__(self, weight: Tensor, config: TileConfig, *, seed: int, name: str) -> None:
        super().__init__()
        if weight.dim() != 2:
            raise ValueError(f"the weight has {weight.dim()} dimensions, an array has 2")
        self.config = config
        self.address = (seed, name)
        self.response: Response | None = None
        self._pair: Pair | None = None
        weight = weight.detach().to(torch.float32).clone()
        self.register_buffer("weight", weight)
        self.register_buffer("state", None)
        self.register_buffer("refresh_waited", None)
        self._streams = {stream: generator(seed, name, stream) for stream in STREAMS}
        self._updater: Updater | PairUpdater | None = None
        self._add_elements(weight)
        self._transfer: Transfer | None = None
        self.register_buffer("fast", None)
        self.register_buffer("transfer_buffer", None)
        self.register_buffer("transfer_position", None)
        if config.transfer is not None:
            self._add_fast_array(config.transfer)

    def _add_elements(self, weight: Tensor) -> None:
        """Draw the elements and bring ``weight`` into their bounds."""
        seed, name = self.address
        device, stream = self.config.device, generator(seed, name, "device")
        shape = (weight.shape[0], weight.shape[1])
        if isinstance(device, Ideal):
            return
        if isinstance(device, OneSided):
            self._pair = Pair.draw(device, shape, stream)
            self.response = self._pair.response
            self.state = self._pair.state(weight)
            self.refresh_waited = torch.zeros(1, dtype=torch.int64)
            torch.sub(*self.state.tensor_split(2), out=weight)
            return
        self.response = draw(device, shape, stream)
        torch.clamp(weight, self.response.low, self.response.high, out=weight)
        if device.write_noise > 0:
            self.state = weight.clone()
            noise = torch.empty_like(weight)
            weight += noise.normal_(0, device.write_noise, generator=self._streams["update"])

    def _add_fast_array(self, transfer: TransferConfig) -> None:
        seed, name = self.address
        device = transfer.device or self.config.device
        assert not isinstance(device, Ideal | OneSided)
        rows, columns = self.weight.shape
        self.fast_response = draw(device, (rows, columns), generator(seed, name, "fast"))
        self.fast = self.fast_response.symmetric_point().nan_to_num(0.0)
        self.transfer_buffer = torch.zeros_like(self.weight)
        self.transfer_position = torch.zeros(2, dtype=torch.int64)

    def read_forward(self, x: Tensor) -> Tensor:
        """Return ``x W^T`` as read: (b, in) -> (b, out)."""
        return read(x, self.weight.t(), self.config.forward, self.forward_stream())

    def read_backward(self, e: Tensor) -> Tensor:
        """Return ``e W`` as read through the transposed array: (b, out) -> (b, in)."""
        return read(e, self.weight, self.config.backward, self.backward_stream())

    @torch.no_grad()
    def update(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Apply the change ``-lr e^T x`` wanted by one micro-batch: x (b, in), e (b, out)."""
        if lr == 0:
            return
        if self.response is None:
            ideal(self.weight, x, e, lr)
            return
        if self.config.transfer is not None:
            self._transfer_path().apply(x, e, lr, self._streams["update"])
            return
        self.updater().apply(x, e, lr)

    def updater(self) -> Updater | PairUpdater:
        """Return what applies pulses to this array.

        Raises:
            RuntimeError: the device is ideal.
        """
        if self._updater is None:
            device = self.config.device
            if self.response is None or isinstance(device, Ideal):
                raise RuntimeError("an ideal device takes no pulses")
            if isinstance(device, OneSided):
                self._updater = self._pair_updater(device)
                return self._updater
            self._updater = Updater(
                self.weight if self.state is None else self.state,
                self.response,
                device.granularity,
                self.config.update,
                self._streams["update"],
                None if self.state is None else self.weight,
                device.write_noise,
            )
        return self._updater

    def _pair_updater(self, device: OneSided) -> PairUpdater:
        state, waited, pair = self.state, self.refresh_waited, self._pair
        assert state is not None
        assert waited is not None
        assert pair is not None
        config = self.config
        stream = self._streams["update"]
        return PairUpdater(
            self.weight, state, waited, pair, device, config.update, config.refresh, stream
        )

    def _transfer_path(self) -> Transfer:
        if self._transfer is None:
            config, own = self.config.transfer, self.config.device
            fast, buffer, position = self.fast, self.transfer_buffer, self.transfer_position
            assert config is not None
            assert fast is not None
            assert buffer is not None
            assert position is not None
            device = config.device or own
            slow = self.updater()
            assert isinstance(slow, Updater)
            self._transfer = Transfer(
                config,
                fast,
                self.fast_response.symmetric_point().nan_to_num(0.0),
                buffer,
                position,
                Updater(
                    fast,
                    self.fast_response,
                    device.granularity,
                    self.config.update,
                    self._streams["update"],
                ),
                slow,
                slow.with_config(SINGLE_PULSES),
            )
        return self._transfer

    def forward_stream(self) -> torch.Generator:
        """Return the noise stream of forward reads in the present mode."""
        return self._streams["forward" if self.training else "eval"]

    def backward_stream(self) -> torch.Generator:
        """Return the noise stream of backward reads."""
        return self._streams["backward"]

    def get_extra_state(self) -> Tensor:
        """Return the states of the random streams, (streams, bytes) uint8."""
        return torch.stack([self._streams[name].get_state() for name in STREAMS])

    def set_extra_state(self, state: Tensor) -> None:
        """Restore the random streams."""
        for name, row in zip(STREAMS, state.cpu(), strict=True):
            self._streams[name].set_state(row.clone())

    def __getstate__(self) -> dict[str, Any]:
        # a copy has to make its own: they hold views of this tile's memory
        return {**self.__dict__, "_updater": None, "_transfer": None}

    def _apply(self, fn: Any, recurse: bool = True) -> "AnalogTile":
        before = self.weight.device
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = self.weight.device
        if device != before:
            seed, name = self.address
            self._streams = {
                stream: generator(seed, name, stream, device=device) for stream in STREAMS
            }
            if self._pair is not None:
                self._pair = self._pair.to(device)
                self.response = self._pair.response
            elif self.response is not None:
                self.response = self.response.to(device)
            if self.fast is not None:
                self.fast_response = self.fast_response.to(device)
        self._updater = self._transfer = None
        return self
