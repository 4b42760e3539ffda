"""Execution of a schedule by one process: the table alone decides the order of events."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.inspection import refuse_modules, refuse_surroundings
from analogpipe.pipeline.layout import dense, packed, unpacked
from analogpipe.pipeline.mitigation import LearningRate, Prediction
from analogpipe.pipeline.optimizer import Make
from analogpipe.pipeline.randomness import Draws, undisturbed
from analogpipe.pipeline.stage import Loss, Stage, under
from analogpipe.schedule.modes import MODE
from analogpipe.schedule.staleness import counted_versions
from analogpipe.schedule.table import Action, Schedule, validate

Batch = Callable[[int], tuple[Tensor, Tensor]]

_CHUNK = 1 << 16  # actions turned into Python integers at a time


class Executed(NamedTuple):
    """A record of an action: when, where, what, and the version of the weights that it used."""

    clock: int
    stage: int
    kind: int
    micro_batch: int
    version: int


class Message(NamedTuple):
    """What goes from a stage to a neighbour: an output or the gradient for it, and the state of its
    micro-batch's random stream if any stage so far has drawn from it."""

    tensor: Tensor
    random: Tensor | None = None


class Pipeline:
    """Stages, the messages between them, and the schedule that they follow.

    ``batch(b)`` gives the input and the target of micro-batch ``b``, ``lr(b)`` the learning rate of
    the update that comes after its backward; both must be functions of ``b`` alone. ``lr`` may be
    a sequence of such functions, one per stage. ``prediction`` is the decay of the moving average
    from which stages with a delay predict the weights of their forwards (see mitigation), None for
    no prediction. ``optimizer`` makes the optimizer of a stage's parameters (see optimizer), plain SGD
    where it is not given. ``seed`` is that of the streams from which stages draw, e.g. for
    dropout (see randomness).

    A table that cannot run is refused with ScheduleError. ``only`` limits the execution to one
    stage (0-based); who passes it must carry the messages.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        schedule: Schedule,
        *,
        loss: Loss,
        batch: Batch,
        lr: LearningRate | Sequence[LearningRate],
        prediction: float | None = None,
        optimizer: Make | None = None,
        seed: int = 0,
        trace: bool = False,
        only: int | None = None,
    ) -> None:
        validate(schedule)
        count = schedule.stages
        if len(stages) != count:
            raise StageError(f"{len(stages)} modules given, the schedule has {count} stages")
        refuse_modules(stages)
        self._rates = _of_stages(lr, count)
        stash = MODE[schedule.name].stashes
        if prediction is not None and stash:
            raise StageError("prediction is for modes with live weights, not for async-stash")
        self.schedule = schedule
        self.clock = 0
        self.trace: list[Executed] | None = [] if trace else None
        self._batch = batch
        self._ran = False
        self._stages: dict[int, Stage] = {}
        self._delayed: dict[int, bool] = {}
        for i in range(count) if only is None else [only]:
            at_forward, at_update = counted_versions(schedule, i + 1)
            gaps = at_update - at_forward
            self._delayed[i] = bool(gaps.any())
            self._stages[i] = Stage(
                stages[i],
                loss=loss if i == count - 1 else None,
                stash=stash,
                prediction=None
                if prediction is None or not self._delayed[i]
                else Prediction(stages[i], gaps.tolist(), prediction),
                optimizer=optimizer,
            )
        self._device = next(iter(self._stages.values())).device
        self._batch_draws = Draws(seed, "batch", self._device)
        self._draws = {
            (what, i): Draws(seed, what, stage.device)
            for i, stage in self._stages.items()
            for what in ("forward", "backward")
        }
        here = slice(None) if only is None else schedule.stage == only + 1
        columns = (schedule.clock, schedule.stage, schedule.kind, schedule.micro_batch)
        self._table = tuple(column[here] for column in columns)
        shape, device = (schedule.micro_batches,), _device(stages[-1])
        self.losses = torch.full(shape, float("nan"), device=device)
        self._kept_from: dict[int, int] = {}
        self._finished = np.zeros(count + 1, dtype=np.int64)  # backwards by stage, before the clock
        self._outputs: dict[int, dict[int, Message]] = {i: {} for i in range(count)}
        self._gradients: dict[int, dict[int, Message]] = {i: {} for i in range(count)}
        self._targets: dict[int, Tensor] = {}

    @property
    def stages(self) -> list[Stage]:
        """The stages that this process executes."""
        return list(self._stages.values())

    def run(self, until: int | None = None) -> None:
        """Execute all actions with clock < ``until`` (all when None) that were not yet executed."""
        refuse_surroundings(self._device)
        for stage in self.stages:
            stage.begin()
        for draws in (self._batch_draws, *self._draws.values()):
            draws.look_again()
        with undisturbed(self._device, others=not self._ran):
            self._execute(until)
        self._ran = True

    def _execute(self, until: int | None) -> None:
        end = self.schedule.cycles if until is None else min(until, self.schedule.cycles)
        first, last = (int(a) for a in np.searchsorted(self._table[0], [self.clock, end]))
        self._find_kept(first, last)
        forward, backward = int(Action.F), int(Action.B)
        for low in range(first, last, _CHUNK):
            chunk = slice(low, min(low + _CHUNK, last))
            for clock, m, kind, b in zip(*(c[chunk].tolist() for c in self._table), strict=True):
                stage = self._stages[m - 1]
                if self.trace is not None:
                    version = stage.used_version(b) if kind == backward else stage.version
                    self.trace.append(Executed(clock, m, kind, b, version))
                if kind == forward:
                    self._forward(stage, m - 1, b)
                elif kind == backward:
                    self._backward(stage, m - 1, b)
                else:
                    stage.update(self._rates[m - 1](b))
        self.clock = max(self.clock, end)

    def _find_kept(self, first: int, last: int) -> None:
        """Find the first micro-batch of each stage whose activations its forward must keep.

        All of them where updates come between F and B, else those in flight at the end of this run.
        """
        self._count_finished(first, last)
        done = self._finished
        self._kept_from = {i: 0 if self._delayed[i] else int(done[i + 1]) for i in self._stages}

    def _count_finished(self, first: int, last: int) -> None:
        """Add the backwards in these rows of the table, so that a run in many pieces reads it once."""
        _, stage, kind, _ = (column[first:last] for column in self._table)
        self._finished += np.bincount(stage[kind == Action.B], minlength=len(self._finished))

    def _forward(self, stage: Stage, i: int, b: int) -> None:
        given: Tensor | None = None
        if i == 0:
            x, self._targets[b] = self._data(b)
        else:
            x, given = self._take_output(i - 1, b)
            _require_gradient(x, i)
        last = i == self.schedule.stages - 1
        target = self._take_target(b) if last else None
        keep = b >= self._kept_from[i]
        draws = self._draws["forward", i]
        if draws.none:
            y = stage.forward(b, x, target, keep=keep)
        else:
            with draws.of(b, given) as draw:
                y = stage.forward(b, x, target, keep=keep)
            given = draw.after
            if draw.before is not None:
                stage.drawn(b, draw.before)
        if last:
            self.losses[b] = y
        else:
            self._put_output(i, b, Message(dense(y), given))

    def _backward(self, stage: Stage, i: int, b: int) -> None:
        gradient = given = None
        if i < self.schedule.stages - 1:
            gradient, given = self._take_gradient(i, b)
        draws = self._draws["backward", i]
        if draws.none:
            gradient = stage.backward(b, gradient)
        else:
            with draws.of(b, given) as draw:
                gradient = stage.backward(b, gradient)
            given = draw.after
        if i > 0:
            assert gradient is not None  # what is no first stage has an input that requires one
            self._put_gradient(i - 1, b, Message(dense(gradient), given))

    def _data(self, b: int) -> tuple[Tensor, Tensor]:
        """Input and target of a micro-batch, a function of ``b`` even if they are drawn."""
        if self._batch_draws.none:
            return self._batch(b)
        with self._batch_draws.of(b, None):
            return self._batch(b)

    # Messages: the output of stage i is kept under i, so is the gradient for that output.

    def _put_output(self, i: int, b: int, output: Message) -> None:
        self._outputs[i][b] = output

    def _take_output(self, i: int, b: int) -> Message:
        return self._outputs[i].pop(b)

    def _put_gradient(self, i: int, b: int, gradient: Message) -> None:
        self._gradients[i][b] = gradient

    def _take_gradient(self, i: int, b: int) -> Message:
        return self._gradients[i].pop(b)

    def _take_target(self, b: int) -> Tensor:
        target = self._targets.pop(b, None)
        return self._data(b)[1] if target is None else target

    def mean_loss(self, first: int, last: int) -> float:
        """Mean loss of the micro-batches first <= b < last, each at its own forward."""
        return float(self.losses[first:last].mean())

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Output of the live weights for a batch, in evaluation mode; training is not disturbed."""
        for stage in self.stages:
            x = stage.predict(x)
        return x

    def state_dict(self) -> dict[str, Tensor]:
        """The whole moment between two clocks, messages on their way included. A flat dict."""
        state = {"clock": torch.tensor(self.clock), "losses": self.losses.clone()}
        for i, stage in self._stages.items():
            state |= {f"stage.{i + 1}.{name}": t for name, t in stage.state_dict().items()}
        for kind, boxes in (("output", self._outputs), ("gradient", self._gradients)):
            for i, box in boxes.items():
                for b, (tensor, random) in box.items():
                    state |= packed(f"{kind}.{i + 1}.{b}", tensor)
                    if random is not None:
                        state[f"{kind}_random.{i + 1}.{b}"] = random
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Return to the moment of ``state_dict``; running on from there is bit-identical."""
        self.clock = int(state["clock"])
        self.losses.copy_(state["losses"])
        self._targets.clear()
        self._finished[:] = 0
        self._count_finished(0, int(np.searchsorted(self._table[0], self.clock)))
        for i, stage in self._stages.items():
            stage.load_state_dict(under(state, f"stage.{i + 1}."))
            if i > 0:
                _restore(self._outputs[i - 1], state, "output", i)
            _restore(self._gradients[i], state, "gradient", i + 1)

    def close(self) -> None:
        """Say that the work is done."""


def _of_stages(lr: LearningRate | Sequence[LearningRate], count: int) -> list[LearningRate]:
    rates = [lr] * count if callable(lr) else list(lr)
    if len(rates) != count:
        raise StageError(f"{len(rates)} learning rates given for {count} stages")
    return rates


def _restore(box: dict[int, Message], state: dict[str, Tensor], kind: str, stage: int) -> None:
    random = under(state, f"{kind}_random.{stage}.")
    box.clear()
    for b in {key.partition(".")[0] for key in under(state, f"{kind}.{stage}.")}:
        box[int(b)] = Message(unpacked(state, f"{kind}.{stage}.{b}"), random.get(b))


def _require_gradient(x: Tensor, stages_before: int) -> None:
    if not (x.is_floating_point() or x.is_complex()):
        raise StageError(
            f"stage {stages_before} gives {x.dtype}, through which no gradient passes; allowed is to "
            "keep what makes whole numbers and what takes them in one stage"
        )
    x.requires_grad_()


def _device(module: nn.Module) -> torch.device:
    tensors = [*module.parameters(), *module.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")
