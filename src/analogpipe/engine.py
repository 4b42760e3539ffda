"""Execution of a schedule by one process: the table alone decides the order of events."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from analogpipe.schedule import Kind, Schedule
from analogpipe.stage import Loss, Stage, StageError, under
from analogpipe.staleness import counted_versions

LearningRate = Callable[[int], float]
Batch = Callable[[int], tuple[Tensor, Tensor]]

_CHUNK = 1 << 16  # actions turned into Python integers at a time


class Executed(NamedTuple):
    """A record of an action: when, where, what, and the version of the weights that it used."""

    clock: int
    stage: int
    kind: int
    micro_batch: int
    version: int


class Pipeline:
    """Stages, the messages between them, and the schedule that they follow.

    ``batch(b)`` gives the input and the target of micro-batch ``b``, ``lr(b)`` the learning rate of
    the update that comes after its backward; both must be functions of ``b`` alone. ``lr`` may be
    a sequence of such functions, one per stage.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        schedule: Schedule,
        *,
        loss: Loss,
        batch: Batch,
        lr: LearningRate | Sequence[LearningRate],
        trace: bool = False,
    ) -> None:
        if len(stages) != schedule.stages:
            raise StageError(
                f"{len(stages)} modules given, the schedule has {schedule.stages} stages"
            )
        rates = [lr] * len(stages) if callable(lr) else list(lr)
        if len(rates) != len(stages):
            raise StageError(f"{len(rates)} learning rates given for {len(stages)} stages")
        stash = schedule.mode == "async-stash"
        self.stages = [Stage(module, stash=stash) for module in stages[:-1]]
        self.stages.append(Stage(stages[-1], loss=loss, stash=stash))
        self.schedule = schedule
        self.clock = 0
        self.losses = torch.full(
            (schedule.micro_batches,), float("nan"), device=_device(stages[-1])
        )
        self.trace: list[Executed] | None = [] if trace else None
        self._batch = batch
        self._rates = rates
        self._outputs: list[dict[int, Tensor]] = [{} for _ in stages]
        self._gradients: list[dict[int, Tensor]] = [{} for _ in stages]
        self._targets: dict[int, Tensor] = {}
        versions = [counted_versions(schedule, m + 1) for m in range(len(stages))]
        self._delayed = [bool((at_f != at_b).any()) for at_f, at_b in versions]
        self._kept_from = [0] * len(stages)

    def run(self, until: int | None = None) -> None:
        """Execute all actions with clock < ``until`` (all when None) that were not yet executed."""
        table = self.schedule
        end = table.cycles if until is None else min(until, table.cycles)
        first, last = np.searchsorted(table.clock, [self.clock, end])
        self._kept_from = self._find_kept(int(last))
        forward, backward, update = int(Kind.F), int(Kind.B), int(Kind.U)
        for low in range(int(first), int(last), _CHUNK):
            chunk = slice(low, min(low + _CHUNK, int(last)))
            columns = (table.clock, table.stage, table.kind, table.micro_batch)
            for clock, m, kind, b in zip(*(c[chunk].tolist() for c in columns), strict=True):
                stage = self.stages[m - 1]
                if self.trace is not None:
                    version = stage.used_version(b) if kind == backward else stage.version
                    self.trace.append(Executed(clock, m, kind, b, version))
                if kind == forward:
                    self._forward(m - 1, b)
                elif kind == backward:
                    self._backward(m - 1, b)
                elif kind == update:
                    stage.update(self._rates[m - 1](b))
        self.clock = max(self.clock, end)

    def _find_kept(self, last: int) -> list[int]:
        """The first micro-batch of each stage whose activations its forward must keep.

        All of them where updates come between F and B, else those in flight at the end of this run.
        """
        backward = self.schedule.stage[:last][self.schedule.kind[:last] == Kind.B]
        done = np.bincount(backward, minlength=len(self.stages) + 1)[1:].tolist()
        return [0 if d else n for d, n in zip(self._delayed, done, strict=True)]

    def _forward(self, i: int, b: int) -> None:
        if i == 0:
            x, self._targets[b] = self._batch(b)
        else:
            x = self._outputs[i - 1].pop(b).requires_grad_()
        keep = b >= self._kept_from[i]
        if i < len(self.stages) - 1:
            self._outputs[i][b] = self.stages[i].forward(b, x, keep=keep)
        else:
            self.losses[b] = self.stages[i].forward(b, x, self._targets.pop(b), keep=keep)

    def _backward(self, i: int, b: int) -> None:
        gradient = self._gradients[i].pop(b) if i < len(self.stages) - 1 else None
        gradient = self.stages[i].backward(b, gradient)
        if gradient is not None:
            self._gradients[i - 1][b] = gradient

    def mean_loss(self, first: int, last: int) -> float:
        """Mean loss of the micro-batches first <= b < last, each at its own forward."""
        return float(self.losses[first:last].mean())

    def state_dict(self) -> dict[str, Tensor]:
        """The whole moment between two clocks, messages on their way included. A flat dict."""
        state = {"clock": torch.tensor(self.clock), "losses": self.losses.clone()}
        for i, stage in enumerate(self.stages):
            state |= {f"stage.{i + 1}.{name}": t for name, t in stage.state_dict().items()}
            state |= {
                f"output.{i + 1}.{b}": t.detach().clone() for b, t in self._outputs[i].items()
            }
            state |= {f"gradient.{i + 1}.{b}": t.clone() for b, t in self._gradients[i].items()}
        return state | {f"target.{b}": t.clone() for b, t in self._targets.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Return to the moment of ``state_dict``; running on from there is bit-identical."""
        self.clock = int(state["clock"])
        self.losses.copy_(state["losses"])
        for i, stage in enumerate(self.stages):
            stage.load_state_dict(under(state, f"stage.{i + 1}."))
            self._outputs[i] = _messages(state, f"output.{i + 1}.")
            self._gradients[i] = _messages(state, f"gradient.{i + 1}.")
        self._targets = _messages(state, "target.")


def _messages(state: dict[str, Tensor], prefix: str) -> dict[int, Tensor]:
    return {int(b): t.clone() for b, t in under(state, prefix).items()}


def _device(module: nn.Module) -> torch.device:
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
