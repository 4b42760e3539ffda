"""One accelerator of a pipeline: a module, its live weights, its micro-batches in flight."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.inspection import Inspection, Steady
from analogpipe.pipeline.layer import array_layers
from analogpipe.pipeline.layout import dense, order, packed, unpacked
from analogpipe.pipeline.mitigation import Prediction
from analogpipe.pipeline.optimizer import Make, StageOptimizer
from analogpipe.pipeline.randomness import get_state, set_state

Loss = Callable[[Tensor, Tensor], Tensor]
_Saved = tuple[Tensor, int]
_KNOWN = (None, False, True)


@dataclass(slots=True)
class _Flight:
    """A micro-batch between its forward and its backward."""

    x: Tensor
    target: Tensor | None
    version: int
    kept: bool = True
    random: Tensor | None = None  # state of the generators at its start, if the forward has drawn
    y: Tensor | None = None
    saved: list[_Saved] = field(default_factory=list)
    hooked: bool = False
    gradient: list[Tensor] = field(default_factory=list)  # for x, as it comes


class Stage:
    """A module with one live copy of its weights, at most one action at a time.

    The backward of a micro-batch uses the activations that its forward saved and the weights as
    they are now, because there is only one array: weights (parameters, and the arrays of analog
    layers) are saved for backward by reference, and updates write in place. With ``stash`` the
    forward saves copies of its weights instead (a digital reference). What is computed from weights
    in a forward (a normalised or a cast weight) counts as an activation.

    The last stage gets a ``loss`` of (output, target), the mean over the micro-batch. ``optimizer``
    makes the optimizer of the parameters, plain SGD where it is not given.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        loss: Loss | None = None,
        stash: bool = False,
        prediction: Prediction | None = None,
        optimizer: Make | None = None,
    ) -> None:
        self.module = module
        self.loss = loss
        self.stash = stash
        self.prediction = prediction
        tensors = [*module.parameters(), *module.buffers()]
        self.device = tensors[0].device if tensors else torch.device("cpu")
        self.version = 0
        self.accumulated = 0
        self.analog = array_layers(module)
        if stash and self.analog:
            raise StageError(
                "async-stash copies weights, which analog arrays cannot: found "
                f"{len(self.analog)} analog layers, allowed are digital ones"
            )
        self.parameters: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
        for p in self.parameters:
            p.grad = torch.zeros_like(p)
        self._gradients = [p.grad for p in self.parameters if p.grad is not None]
        self.optimizer = (
            StageOptimizer(self.parameters, optimizer) if optimizer and self.parameters else None
        )
        self._held()
        self._in_flight: dict[int, _Flight] = {}
        self._inspection: Inspection | None = Inspection(module)
        self._copies_input = False
        self._steady = Steady(module)
        self._lays_gradients_anew: bool | None = None
        arrays = [buffer for layer in self.analog for buffer in layer.buffers()]
        self._live = frozenset(
            t.untyped_storage().data_ptr() for t in (*module.parameters(), *arrays)
        )
        self._buffers = frozenset(t.untyped_storage().data_ptr() for t in module.buffers())

    def begin(self) -> None:
        """Make sure that gradients go where updates find them, whatever was done to them meanwhile."""
        trainable = [p for p in self.module.parameters() if p.requires_grad]
        if len(trainable) != len(self.parameters) or any(map(_differ, trainable, self.parameters)):
            raise StageError(
                "other parameters are trainable than when the pipeline was made; allowed is to "
                "freeze and to thaw before that"
            )
        for p, gradient in zip(self.parameters, self._gradients, strict=True):
            p.grad = gradient
        if self._gradients and not self.accumulated:
            torch._foreach_zero_(self._gradients)

    @property
    def in_flight(self) -> tuple[int, ...]:
        """Micro-batches between their forward and their backward, oldest first."""
        return tuple(self._in_flight)

    def forward(
        self, b: int, x: Tensor, target: Tensor | None = None, *, keep: bool = True
    ) -> Tensor:
        """Run micro-batch ``b`` and keep what its backward needs.

        Returns the detached output, or the detached loss on the last stage. The gradient for ``x``
        is computed in the backward if ``x.requires_grad``. ``keep=False`` is faster; it promises
        that neither an update nor ``state_dict`` comes before the backward (else they raise).
        """
        if b in self._in_flight:
            raise StageError(f"micro-batch {b} is in flight already")
        flight = self._in_flight[b] = _Flight(x, target, self.version, keep)
        flight.hooked = x.requires_grad and self._lays_gradients_anew is not False
        if not keep:
            return self._run(b, flight).detach()
        saved, live, buffers, stash = flight.saved, self._live, self._buffers, self.stash

        def pack(t: Tensor) -> Tensor | _Saved:
            storage = t.untyped_storage().data_ptr()
            if storage in live and not stash:
                return t
            # detach: a node that held its own output would never be freed. Buffers change in place.
            kept = t.detach().clone() if storage in live or storage in buffers else t.detach()
            item = (kept, kept._version)
            saved.append(item)
            return item

        with saved_tensors_hooks(pack, _unpack):
            return self._run(b, flight).detach()

    def _run(self, b: int, flight: _Flight) -> Tensor:
        shift = nullcontext() if self.prediction is None else self.prediction.applied(b)
        with shift:
            if flight.hooked:
                flight.x.register_hook(flight.gradient.append)  # type: ignore[no-untyped-call]
            y = self._apply(flight.x)
        if not isinstance(y, Tensor):
            raise StageError(f"stages exchange one tensor, the module gave {type(y).__name__}")
        if self.loss is not None:
            if flight.target is None:
                raise StageError("the last stage needs a target")
            y = self.loss(y, flight.target)
        flight.y = y
        return y

    def _apply(self, x: Tensor) -> Tensor:
        """Run the module. Its input is the message, and data of others: no module may write to it."""
        if self._inspection is None:
            y: Tensor = self.module(x.clone() if self._copies_input else x)
            return y
        y = self._inspection.forward(x)
        self._copies_input = self._inspection.changes_input
        if self._inspection.done:
            self._inspection = None
        return y

    def drawn(self, b: int, state: Tensor) -> None:
        """Note the state of the generators with which the forward of ``b`` began to draw."""
        self._in_flight[b].random = state

    def backward(self, b: int, grad: Tensor | None = None) -> Tensor | None:
        """Finish micro-batch ``b``: add to the gradients (digital) and pending updates (analog).

        ``grad`` is the gradient of the loss for the stage's output, None on the last stage.
        Returns the gradient for the stage's input, None if that does not require one.
        """
        flight = self._in_flight.pop(b, None)
        if flight is None or flight.y is None:
            raise StageError(f"micro-batch {b} is not in flight, its forward must come first")
        flight.saved.clear()  # the graph frees them one by one from here on
        if flight.y.requires_grad:
            with self._steady.over_backward() if self._steady else nullcontext():
                _backward(flight.y, grad)
        self.accumulated += 1
        if flight.x.requires_grad and flight.x.grad is None:
            raise StageError("the output of the stage does not depend on its input")
        return self._gradient(flight)

    def _gradient(self, flight: _Flight) -> Tensor | None:
        """Return the gradient for the input in the layout that it came with.

        Where torch accumulates it, it gets the layout of the input. Whether that is another one shows
        the first time; a hook, which takes its time, gets it before that.
        """
        laid_anew = flight.x.grad
        if laid_anew is None or not flight.gradient:
            return laid_anew
        (gradient,) = flight.gradient
        if self._lays_gradients_anew is None:
            self._lays_gradients_anew = order(dense(gradient)) != order(laid_anew)
        return gradient

    def used_version(self, b: int) -> int:
        """Version of the weights that the backward of ``b`` uses, were it to run now."""
        return self._in_flight[b].version if self.stash else self.version

    def update(self, lr: float) -> None:
        """Apply what was accumulated: a step on its mean by the optimizer, of plain SGD
        ``w -= lr / n * sum of gradients``.

        ``n`` counts the micro-batches since the last update. Analog layers apply their pending
        updates one micro-batch after another, each with ``lr / n``.
        """
        if self.accumulated == 0:
            raise StageError("an update needs a backward before it")
        if any(not flight.kept for flight in self._in_flight.values()):
            raise StageError("an update before the backward of a micro-batch that was not kept")
        rate = lr / self.accumulated
        if self._gradients:
            with torch.no_grad():
                if self.optimizer is None:
                    torch._foreach_add_(self.parameters, self._gradients, alpha=-rate)
                else:
                    if self.accumulated > 1:
                        torch._foreach_div_(self._gradients, self.accumulated)
                    self.optimizer.step(lr, self._held())
                torch._foreach_zero_(self._gradients)
        for layer in self.analog:
            layer.update(rate)
        self.accumulated = 0
        self.version += 1
        if self.prediction is not None:
            self.prediction.record()

    @torch.no_grad()
    def _held(self) -> dict[Tensor, Tensor]:
        """What arrays hold of the weights that the optimizer shrinks.

        Raises:
            StageError: there are weights that it cannot reach.
        """
        if self.optimizer is None or not self.optimizer.decays:
            return {}
        parts = [layer.whole() for layer in self.analog]
        if None in parts:
            raise StageError(
                "weight decay does not reach arrays that learn by pulses of their own; allowed: 0, or "
                "mixed precision"
            )
        return {p: held for part in parts if part for p, held in part}

    def predict(self, x: Tensor) -> Tensor:
        """Output of the module in evaluation mode."""
        training = [part for part in self.module.modules() if part.training]
        self.module.eval()
        try:
            with torch.no_grad():
                y: Tensor = self.module(x)
        finally:
            for part in training:  # not train(): a part may be frozen in evaluation mode
                part.training = True
        return y

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that the next action depends on, as a flat dict of copied tensors."""
        state: dict[str, Tensor] = {}
        for name, value in self.module.state_dict().items():
            if not isinstance(value, Tensor):
                raise StageError(f"the module's state {name!r} is no tensor")
            state[f"module.{name}"] = value
        state["counters"] = torch.tensor(
            [self.version, self.accumulated, _KNOWN.index(self._lays_gradients_anew)]
        )
        state["in_flight"] = torch.tensor([*self._in_flight], dtype=torch.int64)
        if self.accumulated:
            state |= {f"gradient.{i}": g for i, g in enumerate(self._gradients)}
            for i, layer in enumerate(self.analog):
                state |= {f"pending.{i}.{j}": t for j, t in enumerate(layer.pending_state())}
        if self.optimizer is not None:
            state |= {f"optimizer.{name}": t for name, t in self.optimizer.state_dict().items()}
        if self.prediction is not None:
            state |= {f"velocity.{i}": v for i, v in enumerate(self.prediction.velocity)}
        for b, flight in self._in_flight.items():
            if not flight.kept:
                raise StageError(f"micro-batch {b} was run without keeping its activations")
            prefix = f"flight.{b}."
            facts = [flight.version, flight.x.requires_grad, flight.hooked]
            state[prefix + "facts"] = torch.tensor(facts)
            state |= packed(prefix + "x", dense(flight.x))
            if flight.target is not None:
                state[prefix + "target"] = flight.target
            if flight.random is not None:
                state[prefix + "random"] = flight.random
            state |= {f"{prefix}saved.{i}": t for i, (t, _) in enumerate(flight.saved)}
        return {
            name: t.detach().clone(memory_format=torch.contiguous_format)
            for name, t in state.items()
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Return to the moment of ``state_dict``; running on from there is bit-identical.

        Graphs cannot be stored. They are rebuilt by running each forward in flight again, with the
        stored tensors in the place of those it saves; the state of the module is set afterwards, so
        the replay leaves no trace in buffers or noise streams.
        """
        self._in_flight.clear()
        outside = get_state(self.device)
        self._lays_gradients_anew = _KNOWN[state["counters"][2]]
        for b in state["in_flight"].tolist():
            self._in_flight[b] = self._replay(b, under(state, f"flight.{b}."))
        set_state(outside, self.device)
        self.module.load_state_dict(under(state, "module."))
        self.version, self.accumulated, _ = state["counters"].tolist()
        for i, gradient in enumerate(self._gradients):
            if self.accumulated:
                gradient.copy_(state[f"gradient.{i}"])
            else:
                gradient.zero_()
        for i, layer in enumerate(self.analog):
            pending = under(state, f"pending.{i}.")
            layer.load_pending([pending[str(j)].clone() for j in range(len(pending))])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(under(state, "optimizer."))
        if self.prediction is not None:
            velocity = under(state, "velocity.")
            self.prediction.load([velocity[str(i)] for i in range(len(velocity))])

    def _replay(self, b: int, state: dict[str, Tensor]) -> _Flight:
        version, needs_gradient, hooked = state["facts"].tolist()
        x = unpacked(state, "x").requires_grad_(bool(needs_gradient))
        flight = _Flight(x, state.get("target"), version, random=state.get("random"))
        flight.hooked = bool(hooked)
        if flight.random is not None:
            set_state(flight.random, self.device)
        stored = [
            state[f"saved.{i}"] for i in range(sum(key.startswith("saved.") for key in state))
        ]

        def pack(t: Tensor) -> Tensor | _Saved:
            if t.untyped_storage().data_ptr() in self._live and not self.stash:
                return t
            i = len(flight.saved)
            if i >= len(stored) or stored[i].shape != t.shape or stored[i].dtype != t.dtype:
                raise StageError(f"the state does not fit the module: saved tensor {i} differs")
            # as strided as the one it stands for: kernels may sum in another order otherwise
            kept = torch.empty_like(t, memory_format=torch.preserve_format).copy_(stored[i])
            item = (kept.detach(), kept._version)
            flight.saved.append(item)
            return item

        with saved_tensors_hooks(pack, _unpack):
            self._run(b, flight)
        return flight


def _backward(y: Tensor, grad: Tensor | None) -> None:
    """Run the graph of ``y``: past ``torch.autograd.backward`` where it has nothing to check, as what a
    stage is sent has the shape and type of what it sent. That takes as long as half a small graph."""
    if grad is None or grad.shape != y.shape or grad.dtype != y.dtype:
        torch.autograd.backward(y, grad)
        return
    run = torch.autograd.Variable._execution_engine.run_backward
    run((y,), (grad,), False, False, (), allow_unreachable=True, accumulate_grad=True)


def _differ(one: Tensor, other: Tensor) -> bool:
    return one is not other


def _unpack(item: Any) -> Tensor:
    if isinstance(item, Tensor):
        return item
    tensor, version = item
    if tensor._version != version:
        raise StageError("an activation that the backward needs was changed in place")
    return tensor  # type: ignore[no-any-return]


def under(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The entries below a prefix, with the prefix cut off."""
    return {key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)}
