"""Global randomness inside stages, such as dropout: each micro-batch has streams that go with it.

Modules draw from torch's global generators. Left alone, what they draw would depend on the order of
events: on the schedule, the stages, the processes, on whether a run was interrupted. So before an
action that draws, the generators are set to the stream of its micro-batch, which begins at
``first(seed, "forward" or "backward", b)`` and goes on where the stage before has left it; afterwards
they are set back. A network draws the same however it is cut, and what it draws in one process that
sets its generators to these beginnings.

Stages that draw nothing pay nothing: only the first forward and the first backward of a stage in a
call of ``Pipeline.run`` are looked at. What draws later all the same is refused when the call ends.
"""

import ctypes
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from analogpipe.pipeline.errors import StageError
from analogpipe.seeds import generator

_CPU_BYTES = len(torch.default_generator.get_state())


def first(seed: int, what: str, b: int, device: torch.device) -> Tensor:
    """Return the beginning of a stream of micro-batch ``b``, a state as of :func:`get_state`."""
    state = generator(seed, what, b).get_state()
    if device.type != "cuda":
        return state
    return torch.cat([state, generator(seed, what, b, device=device).get_state()])


def get_state(device: torch.device) -> Tensor:
    """Return the state of torch's global generators: that of the CPU, and of ``device`` if a GPU."""
    state = torch.default_generator.get_state()
    return state if device.type != "cuda" else torch.cat([state, torch.cuda.get_rng_state(device)])


def set_state(state: Tensor, device: torch.device) -> None:
    """Set torch's global generators to what :func:`get_state` has returned on the same device."""
    torch.default_generator.set_state(state[:_CPU_BYTES].clone())
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[_CPU_BYTES:].clone(), device)


class Draw:
    """One action under the stream of its micro-batch: the states before it and for the next stage.

    Both are None where the action drew nothing; ``after`` is then what the stage was given.
    """

    def __init__(self, before: Tensor | None, after: Tensor | None) -> None:
        self.before, self.after = before, after


class Draws:
    """The draws of one kind of action of a stage: ``what`` is ``forward``, ``backward`` or ``batch``.

    ``none`` says that the last look found none, so that :meth:`of` is not needed.
    """

    def __init__(self, seed: int, what: str, device: torch.device) -> None:
        self._seed, self._what, self._device = seed, what, device
        self._found = self.none = False

    def look_again(self) -> None:
        """Find out once more at the next action whether it draws."""
        self.none = False

    @contextmanager
    def of(self, b: int, given: Tensor | None) -> Iterator[Draw]:
        """Within this context micro-batch ``b`` draws from its stream, ``given`` by the stage before
        if that has drawn."""
        outside = get_state(self._device)
        before = given
        if before is None:
            before = first(self._seed, self._what, b, self._device)
        set_state(before, self._device)
        draw = Draw(None, given)
        try:
            yield draw
        finally:
            after = get_state(self._device)
            set_state(outside, self._device)
        if self._found or not torch.equal(before, after):
            self._found = True
            draw.before, draw.after = before, after
        else:
            self.none = True


@contextmanager
def undisturbed(device: torch.device, *, others: bool) -> Iterator[None]:
    """Raise StageError where the context draws from torch's global generators in passing; with
    ``others`` also from those of Python and NumPy, which no stream can stand for."""
    before = get_state(device)
    python, numpy = (random.getstate(), _numpy()) if others else (None, b"")
    yield
    if not torch.equal(before, get_state(device)):
        raise StageError(
            "a stage, the loss, the batch or the learning rate began to draw random numbers after "
            "its first micro-batch, which drew none: allowed is to draw always, or from own streams"
        )
    if others and (random.getstate() != python or _numpy() != numpy):
        raise StageError(
            "a stage, the loss, the batch or the learning rate draws from the global generator of "
            "Python or NumPy: allowed is torch's, or a generator made for each micro-batch"
        )


def _numpy() -> bytes:
    """The state of NumPy's global generator, from its memory: a copy by NumPy takes 100 times as long."""
    bits = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if isinstance(bits, np.random.MT19937):  # 624 words and a position of 4 bytes each
        return ctypes.string_at(bits.ctypes.state_address, 625 * 4)
    return repr(bits.state).encode()
