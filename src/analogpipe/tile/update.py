"""The update of an array by micro-batches.

A micro-batch of inputs ``x`` (b, in) and error signals ``e`` (b, out) wants the change
``D = -lr e^T x``. Sample by sample, rows and columns fire at random and an element is pulsed where
both do. The expected numbers of up and down pulses are ``N+- = (A +- D) / 2g`` with the activity
``A = lr |e|^T |x|`` and ``g`` the granularity of the device: opposite samples do not cancel.

Elements are treated as independent. (Those that share a row or a column are not, quite; the
rule ``pulse_train`` keeps that correlation.)
"""

from copy import copy

import torch
from torch import Tensor

from analogpipe.device.response import Response
from analogpipe.tile.change import Products
from analogpipe.tile.kernels.backend import Kernels, kernels_of
from analogpipe.tile.kernels.plain import AtOnce
from analogpipe.tile.noise import rewrite
from analogpipe.tile.pulse_train import pulse_trains
from analogpipe.tile.sections import UpdateConfig
from analogpipe.tile.signals import Signals

BLOCK = 2**18
"""Elements handled at a time, per thread: bounds the work space at 12 MiB a thread. Smaller blocks
would stay in a core's cache, but save no time."""


class Updater:
    """Applies updates to ``weight`` (out, in) in place, by the rule of ``config``.

    Args:
        visible: where writing is noisy, what reads see: ``weight`` plus normal noise of
            ``write_noise`` (weight units), drawn anew where an element is pulsed.
        kernels: what does the work; by default what suits ``weight``.
        slots: to which the slots of all pulse trains are added (1,) int64.
    """

    def __init__(
        self,
        weight: Tensor,
        response: Response,
        granularity: float,
        config: UpdateConfig,
        generator: torch.Generator,
        visible: Tensor | None = None,
        write_noise: float = 0.0,
        kernels: Kernels | None = None,
        slots: Tensor | None = None,
    ) -> None:
        self.response, self.granularity = response, granularity
        self.config, self.generator = config, generator
        self._weight, self._visible, self._write_noise = weight, visible, write_noise
        self._kernels = kernels = kernels or kernels_of(weight)
        self._slots = weight.new_zeros(1, dtype=torch.int64) if slots is None else slots
        self._outputs, inputs = weight.shape
        self._spaces: dict[int, tuple[Signals, list[tuple[Tensor, Tensor]]]] = {}
        at_once = max(1, BLOCK * torch.get_num_threads() // inputs)
        self._blocks = []
        for start in range(0, self._outputs, at_once):
            rows = slice(start, min(start + at_once, self._outputs))
            seen = None if visible is None else visible[rows]
            part = weight[rows], response.rows(rows), seen
            self._blocks.append(kernels.block(rows, *part, write_noise))
        self.at_once = self._all_at_once()

    def with_config(self, config: UpdateConfig) -> "Updater":
        """Return an updater of the same array by another configuration."""
        other = copy(self)
        other.config = config
        other.at_once = other._all_at_once()
        return other

    def _all_at_once(self) -> AtOnce | None:
        """What applies the update of a micro-batch in one call; None where that cannot be done."""
        if len(self._blocks) > 1:
            return None
        how = self.granularity, self.config, self.generator, self._slots
        return self._blocks[0].at_once(*how)

    def apply(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Apply the update of one micro-batch: x (b, in), e (b, out)."""
        if self.config.rule == "pulse_train":
            self._pulse_trains(x, e, lr)
            return
        if self.at_once is not None and x.shape[0]:
            self.at_once(x, e, lr)
            return
        signals, of_blocks = self._space(x)
        x = self._kernels.condition(x, e, lr, self.granularity, self.config, signals)
        slots = self._kernels.chances(signals) if self.config.rule == "pulsed" else None
        for block, (e_sizes, e_signed) in zip(self._blocks, of_blocks, strict=True):
            half = torch.mm(e_sizes, signals.x_sizes, out=block.half)
            wanted = torch.mm(e_signed, x, out=block.wanted)
            block.change(half, wanted, slots, self.generator)

    def products(self, x: Tensor, e: Tensor, lr: float, first: Tensor) -> tuple[Products, Products]:
        """Return the expected pulses of a micro-batch, x (b, in), e (b, out), in two parts.

        The first is what an element gets of the samples for which its column in ``first`` (b, in) is
        true. The probability of a slot is estimated over both.
        """
        signals = Signals.space(x.shape[0], x.shape[1], e.shape[1], x, self._slots)
        x = self._kernels.condition(x, e, lr, self.granularity, self.config, signals)
        of_columns, of_rows = (factors.clone() for factors in self._kernels.chances(signals))
        sizes, signed = signals.e_sizes.t(), signals.e.t()
        before, after = (
            Products(
                torch.mm(sizes, signals.x_sizes * part),
                torch.mm(signed, x * part),
                of_rows,
                of_columns,
                0,
            )
            for part in (first, ~first)
        )
        return before, after

    def _pulse_trains(self, x: Tensor, e: Tensor, lr: float) -> None:
        weight, visible, generator = self._weight, self._visible, self.generator
        before = None if visible is None else weight.clone()
        numbers = lr, self.granularity, self.config
        how = generator, self._kernels, self._slots
        touched = pulse_trains(weight, x, e, self.response, *numbers, *how)
        if visible is not None and before is not None:
            rewrite(visible, before, weight, touched, self._write_noise, generator)

    def apply_products(self, products: Products) -> None:
        """Apply an update of which the products are known (as a convolution gives them)."""
        sizes, signed, of_rows, of_columns, sent = products
        self._slots += sent
        slots = (of_columns, of_rows) if self.config.rule == "pulsed" else None
        for block in self._blocks:
            block.change(sizes[block.rows], signed[block.rows], slots, self.generator)

    def _space(self, x: Tensor) -> tuple[Signals, list[tuple[Tensor, Tensor]]]:
        """Work space for the signals of a batch, and their rows (sizes, signed) for each block."""
        samples, inputs = x.shape
        if samples not in self._spaces:
            signals = Signals.space(samples, inputs, self._outputs, x, self._slots)
            e_sizes, e_signed = signals.e_sizes.t(), signals.e.t()
            rows = [block.rows for block in self._blocks]
            self._spaces[samples] = signals, [(e_sizes[r], e_signed[r]) for r in rows]
        return self._spaces[samples]
