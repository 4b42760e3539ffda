"""The update by the stochastic pulse trains themselves: the slow reference of ``pulsed``."""

from typing import Protocol

import torch
from torch import Tensor

from analogpipe.tile.kernels.backend import Kernels
from analogpipe.tile.sections import UpdateConfig
from analogpipe.tile.signals import Signals


class Pulsable(Protocol):
    """Elements that take pulses: a :class:`analogpipe.device.response.Response`, or a pair."""

    def pulse(
        self, weight: Tensor, up: Tensor, generator: torch.Generator, where: Tensor | None = None
    ) -> None:
        """Apply one pulse in place where ``where`` is true, up where ``up`` is true, else down."""


def pulse_trains(
    weight: Tensor,
    x: Tensor,
    e: Tensor,
    response: Pulsable,
    lr: float,
    granularity: float,
    config: UpdateConfig,
    generator: torch.Generator,
    kernels: Kernels,
    slots: Tensor,
) -> Tensor:
    """Update ``weight`` (out, in) in place, sample by sample and slot by slot: x (b, in), e (b, out).

    In each slot, row k fires with probability ``|e_k| sqrt(lr / g BL) / r`` and column j with
    ``|x_j| sqrt(lr / g BL) r`` (:mod:`analogpipe.tile.signals`); where both fire the element gets one
    pulse, in the direction of ``-x e``. Elements on a line fire together, as in AIHWKit.
    The slots of all trains are added to ``slots``. Returns which elements were pulsed (boolean).
    """
    signals = Signals.space(x.shape[0], x.shape[1], e.shape[1], weight, slots)
    x = kernels.condition(x, e, lr, granularity, config, signals)
    touched = torch.zeros_like(weight, dtype=torch.bool)
    for i, length in enumerate(signals.lengths.tolist()):
        columns, rows = signals.x_sizes[i].clone(), signals.e_sizes[i].clone()
        if config.update_management:
            # p_x p_e = 2 x e / BL, balanced so that both maxima are equal
            top = 2 * float(columns.max()) * float(rows.max())
            if top == 0:
                continue
            share = (top / length) ** 0.5
            columns *= share / float(columns.max())
            rows *= share / float(rows.max())
        else:
            columns *= (lr / (granularity * length)) ** 0.5
            rows *= 2 * (granularity / (lr * length)) ** 0.5
        up = torch.outer(signals.e[i].sign(), x[i].sign()) > 0
        for _ in range(int(length)):
            fired_rows = _fires(rows, generator)
            fired_columns = _fires(columns, generator)
            hit = fired_rows.unsqueeze(1) & fired_columns
            response.pulse(weight, up, generator, hit)
            touched |= hit
    return touched


def _fires(probability: Tensor, generator: torch.Generator) -> Tensor:
    return torch.empty_like(probability).uniform_(generator=generator) < probability
