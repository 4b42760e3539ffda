"""An array that learns over another: what all rules of Tiki-Taka share.

Gradients go to a fast array. Its columns are read in turn, and each kind of array says in
:meth:`TransferArray.pass_on` what becomes of a read on its way to the slow array of the weight.

Where transfers count input vectors there are many within a micro-batch. A pass over the columns is
done at once all the same: of each column, the products of the vectors before its read and of those
after it. That changes nothing where elements are independent of each other, as those of the rule
``pulsed`` are. With ``pulse_train`` the vectors between two reads are taken one after the other.
"""

from functools import cached_property

import torch
from torch import Tensor

from analogpipe.device.parameters import Pulsed
from analogpipe.device.response import draw
from analogpipe.tile.array import Array
from analogpipe.tile.change import Change, Products, Samples
from analogpipe.tile.config import TileConfig
from analogpipe.tile.passes import Pass, passes
from analogpipe.tile.pulsed import PulsedArray, RewrittenArray
from analogpipe.tile.read import read
from analogpipe.tile.sections import UpdateConfig
from analogpipe.tile.streams import Streams
from analogpipe.tile.update import Updater

SINGLE_PULSES = UpdateConfig(desired_bl=1, update_bl_management=False, update_management=False)
"""With these, ``x = 1``, ``e = +-1`` and ``lr`` the granularity give one pulse for certain."""

Signs = tuple[Tensor, Tensor]
"""Signs of rows (out,) and columns (in,)."""
Rates = float | Tensor
"""One learning rate of the fast array, or one for each input vector (v,)."""


class TransferArray(Array):
    """The slow array of the weight behind a fast array."""

    fast: Tensor
    """State of the fast array, (out, in)."""
    seen: Tensor
    """What reads of it see, where its writing is noisy (out, in)."""
    buffer: Tensor
    """The digital buffer, (out, in)."""
    position: Tensor
    """The next column; micro-batches, or input vectors, since the last transfer, (2,) int64."""

    def __init__(self, weight: Tensor, config: TileConfig, streams: Streams) -> None:
        super().__init__(weight, config, streams)
        assert config.transfer is not None
        self.transfer = config.transfer
        device = config.transfer.device or config.device
        assert isinstance(device, Pulsed)
        self.device = device
        shape = (weight.shape[0], weight.shape[1])
        self.response = draw(device, shape, streams.fresh("fast"))
        self.register_buffer("fast", torch.empty_like(weight))
        if device.write_noise > 0:
            self.register_buffer("seen", torch.empty_like(weight))
        self._clear()
        self.register_buffer("buffer", torch.zeros_like(weight))
        self.register_buffer("position", torch.zeros(2, dtype=torch.int64))

    @classmethod
    def fires_samples(cls, config: TileConfig) -> bool:
        """Whether the fast array takes pulses sample by sample."""
        by_micro_batch = config.transfer is not None and config.transfer.units_in_mbatch
        return config.update.fires_samples or not by_micro_batch

    def keep(self, weight: Tensor) -> None:
        """Give ``weight`` to the slow array."""
        kind = RewrittenArray if RewrittenArray.takes(self.config) else PulsedArray
        self.slow = kind(weight, self.config, self.streams)
        self.slow.watched = False  # that is done here

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """What reads see: that of the slow array."""
        return self.slow.weight

    def place(self, weight: Tensor) -> None:
        """Set the slow array; the fast one goes to its reference, the digital buffer stays (AIHWKit:
        ``set_weights`` of all compounds)."""
        self.slow.place(weight)
        self._clear()

    def hold(self) -> None:
        """Bring the fast array into its bounds."""
        torch.clamp(self.fast, self.response.low, self.response.high, out=self.fast)

    def moved(self, device: torch.device) -> None:
        """Bring the elements of the fast array to ``device``."""
        self.response = self.response.to(device)

    def change(self, change: Change, lr: float) -> None:
        """Update the fast array, and transfer what is due.

        ``lr`` scales the transfer; the fast array has its own rate, ``fast_lr`` (0: also ``lr``).
        """
        if self.transfer.units_in_mbatch:
            self._learn_whole(change, lr)
        else:
            self._learn_by_vectors(Samples(*change.samples()), lr)

    def pass_on(self, columns: slice, lr: float, rates: Rates) -> None:
        """Read some columns, and do to the slow array what follows from it.

        ``rates``: of the fast array, at the time of each of the reads.
        """
        raise NotImplementedError

    def complete(self) -> None:
        """Take note of the end of a pass."""

    def signs(self) -> Signs | None:
        """Return the signs with which the fast array now takes gradients, None for none."""
        return None

    def rates(self, change: Change, lr: float) -> Rates:
        """Return the learning rate of the fast array."""
        return self.transfer.fast_lr or lr

    @property
    def transfer_rate(self) -> float:
        """The rate of transfer, without that of the training."""
        return self.transfer.transfer_lr

    def rate(self, lr: float) -> float:
        """Return the rate of transfer where that of the training is ``lr``."""
        return self.transfer_rate * lr if self.transfer.scale_transfer_lr else self.transfer_rate

    def read(self, columns: slice) -> Tensor:
        """Return some columns of the fast array as read against its reference, (columns, out)."""
        config = self.transfer.forward
        state = self.seen if self.device.write_noise > 0 else self.fast
        if config.inp_noise > 0:  # every input has its own
            inputs, state = self.one_hot(columns), state - self._reference
        else:
            inputs = torch.eye(columns.stop - columns.start, device=state.device)
            state = state[:, columns] - self._reference[:, columns]
        return read(inputs, state.t(), config, self.streams["update"], self.kernels)

    def one_hot(self, columns: slice) -> Tensor:
        """Return the inputs that choose some columns one by one, (columns, in)."""
        found = torch.zeros(columns.stop - columns.start, self.fast.shape[1])
        found[:, columns].fill_diagonal_(1.0)
        return found.to(self.fast.device)

    def send(self, columns: slice, unit: float, *, write: bool = True) -> None:
        """Pulse the slow array where the buffer holds a ``unit``, and take that off the buffer."""
        kept = self.buffer[:, columns]
        due = (kept.abs() >= unit) * kept.sign()
        written = due.any(0)
        if not bool(written.any()):
            return
        if write:
            pulse = self.slow.device.granularity
            self._single_pulses.apply(self.one_hot(columns)[written], -due.t()[written], pulse)
        momentum = self.transfer.momentum
        if self.transfer.forget_buffer:
            kept.mul_(torch.where(due == 0, 1.0, momentum))
        else:
            kept.sub_(due, alpha=(1 - momentum) * unit)

    def _clear(self) -> None:
        """Write the reference to the fast array, as near as its bounds allow."""
        torch.clamp(self._reference, self.response.low, self.response.high, out=self.fast)
        if self.device.write_noise > 0:
            noise = torch.empty_like(self.fast)
            noise.normal_(0, self.device.write_noise, generator=self.streams["update"])
            torch.add(self.fast, noise, out=self.seen)

    def _learn_whole(self, change: Change, lr: float) -> None:
        """Update the fast array by a whole micro-batch; then transfer if that is due."""
        rates = self.rates(change, lr)
        last = rates if isinstance(rates, float) else rates[-1:]
        if isinstance(rates, float):
            self._collect(change, rates)
        else:
            self._collect(change.times(rates), 1.0)
        for part in self._passes(1):
            if part.times:
                self.pass_on(part.columns, lr, last)
            if part.complete:
                self.complete()

    def _learn_by_vectors(self, change: Samples, lr: float) -> None:
        """Update the fast array, with transfers between the vectors of the micro-batch."""
        rates = self.rates(change, lr)
        if isinstance(rates, Tensor):
            change = change.times(rates)
        for part in self._passes(len(change.x)):
            x, e = change.x[part.vectors], change.e[part.vectors]
            some = rates if isinstance(rates, float) else rates[part.vectors]
            if not part.times or part.times[0] == len(x):
                self._collect(Samples(x, e), _scale(some))
                if part.times:
                    self._pass_on(part, part.columns, lr, some)
            elif self.config.update.rule == "pulse_train":
                self._one_by_one(part, x, e, lr, some)
            else:
                self._at_once(part, x, e, lr, some)
            if part.complete:
                self.complete()

    def _passes(self, vectors: int) -> list[Pass]:
        """Return the passes of the next vectors (or micro-batches), and note that they were."""
        config, width = self.transfer, self.fast.shape[1]
        column, waited = self.position.tolist()
        found = passes(
            vectors,
            column=column,
            waited=waited,
            every=config.every,
            columns=config.columns,
            width=width,
        )
        transfers, waited = divmod(waited + vectors, config.every)
        column = (column + config.columns * transfers) % width
        self.position.copy_(torch.tensor([column, waited]))
        return list(found)

    def _pass_on(self, part: Pass, columns: slice, lr: float, rates: Rates) -> None:
        if isinstance(rates, Tensor):
            first = columns.start - part.columns.start
            times = part.times[first : first + columns.stop - columns.start]
            rates = rates[torch.tensor(times, device=rates.device) - 1]
        self.pass_on(columns, lr, rates)

    def _one_by_one(self, part: Pass, x: Tensor, e: Tensor, lr: float, rates: Rates) -> None:
        """Take in the vectors of a pass, with each read at its time."""
        done = 0
        for column, time in enumerate(part.times, part.columns.start):
            if time > done:
                self._collect(Samples(x[done:time], e[done:time]), _scale(rates))
            self._pass_on(part, slice(column, column + 1), lr, rates)
            done = time
        if done < len(x):
            self._collect(Samples(x[done:], e[done:]), _scale(rates))

    def _at_once(self, part: Pass, x: Tensor, e: Tensor, lr: float, rates: Rates) -> None:
        """Take in the vectors of a pass, column by column those before its read and those after."""
        until = torch.full((x.shape[1],), len(x))
        until[part.columns] = torch.tensor(part.times)
        came = torch.arange(len(x)).unsqueeze(1) < until
        before, after = self._fast.products(x, e, _scale(rates), came.to(x.device))
        self._collect_products(before)
        self._pass_on(part, part.columns, lr, rates)
        self._collect_products(after)

    def _collect(self, change: Change, rate: float) -> None:
        """Pulse the fast array."""
        numbers = rate, self.device.granularity, self.config.update
        products = change.products(*numbers, self.multiplies_in)
        if products is not None:
            self._collect_products(products)
            return
        x, e = change.samples()
        signs = self.signs()
        if signs is not None:
            x, e = x * signs[1], e * signs[0]
        self._fast.apply(x, e, rate)

    def _collect_products(self, products: Products) -> None:
        signs = self.signs()
        if signs is not None:
            products = products._replace(signed=products.signed * torch.outer(*signs))
        self._fast.apply_products(products)

    @cached_property
    def _reference(self) -> Tensor:
        """What the fast array is read against, (out, in)."""
        config, like = self.transfer, self.response.low
        if config.reference == "none":
            found = torch.zeros_like(like)
        else:
            found = self.response.symmetric_point().nan_to_num(0.0)
        if config.reference_std > 0:
            error = torch.randn(like.shape, generator=self.streams.fresh("reference"))
            found = found + config.reference_std * error.to(like.device)
        return found

    @cached_property
    def _fast(self) -> Updater:
        """What pulses the fast array."""
        noise = self.device.write_noise
        return Updater(
            self.fast,
            self.response,
            self.device.granularity,
            self.config.update,
            self.streams["update"],
            self.seen if noise > 0 else None,
            noise,
            self.kernels,
            self.slots,
            self.multiplies_in,
        )

    @cached_property
    def _single_pulses(self) -> Updater:
        """What pulses the slow array once."""
        return self.slow.updater.with_config(SINGLE_PULSES)


def _scale(rates: Rates) -> float:
    """The learning rate that is left where rates of the vectors are part of their error signals."""
    return rates if isinstance(rates, float) else 1.0
