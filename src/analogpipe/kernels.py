"""Loops over the elements of arrays in main memory, compiled by Numba.

Each passes once over memory where torch needs an operation, and a pass, for every step of the same
formula. On other devices torch does it (:mod:`analogpipe.signals`, :mod:`analogpipe.update`,
:mod:`analogpipe.readout`, :mod:`analogpipe.noise`, which say what the formulas mean).
Both agree to rounding, updates with the same random numbers. One thread; float32.
"""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar, cast

import numpy as np
import torch
from numba import njit
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])
Array = np.ndarray[Any, np.dtype[Any]]
Elements = tuple[Array, Array, Array, Array, Array]
"""Of an array: weight, steps, slopes, low and high, as :func:`move` takes them."""

_ZERO, _ONE, _TWO, _SIX = np.float32(0), np.float32(1), np.float32(2), np.float32(6)
_TINY, _SIXTH, _ROOT2 = np.float32(1e-30), np.float32(1 / 6), np.float32(2**0.5)

_DIGEST = sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def usable(tensor: Tensor) -> bool:
    """Whether these loops can work on ``tensor``: in main memory, float32."""
    return tensor.device.type == "cpu" and tensor.dtype == torch.float32


def array(tensor: Tensor) -> Array:
    """Return a view of ``tensor``."""
    return cast(Array, tensor.detach().numpy())


def _compiled(signature: str) -> Callable[[F], F]:
    """Compile a loop for one ``signature`` when it is defined, or take it from Numba's cache."""
    # without these licences no loop with a division, a maximum or a sum of products is vectorised
    options: dict[str, Any] = {"fastmath": {"contract", "nnan", "nsz"}, "error_model": "numpy"}

    def of(function: F) -> F:
        # part of the file's name: code of other sources is never taken, whatever the cache holds
        function.__qualname__ = f"{function.__name__}_{_DIGEST}"
        try:
            return cast(F, njit(signature, cache=True, **options)(function))
        except (RuntimeError, OSError, EOFError, UnpicklingError):
            # nowhere to keep compiled code, or what is kept is damaged: compile for this process
            return cast(F, njit(signature, **options)(function))

    return of


@_compiled("void(f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[::1], f8, i8, b1, b1)")
def condition(
    x: Array,
    e: Array,
    signed: Array,
    sizes: Array,
    lengths: Array,
    factor: float,
    limit: int,
    balance: bool,
    shorten: bool,
) -> None:
    """Clip ``x`` (b, in) and ``factor e`` (b, out) to what pulse trains of at most ``limit`` carry.

    Results: ``signed`` and ``sizes`` (b, in + out), and the ``lengths`` (b,) of the trains. ``factor`` is
    ``-lr / 2g``.
    """
    samples, inputs = x.shape
    outputs = e.shape[1]
    scale, longest = np.float32(factor), np.float32(limit)
    for s in range(samples):
        x_max, e_max = _ZERO, _ZERO
        for k in range(inputs):
            value = x[s, k]
            signed[s, k] = value
            sizes[s, k] = abs(value)
            x_max = max(x_max, abs(value))
        for k in range(outputs):
            value = scale * e[s, k]
            signed[s, inputs + k] = value
            sizes[s, inputs + k] = abs(value)
            e_max = max(e_max, abs(value))
        needed = _TWO * x_max * e_max
        length = min(max(np.ceil(needed), _ONE), longest) if shorten else longest
        lengths[s] = length
        if balance and needed <= longest:
            continue
        if balance:
            bound = longest / (_TWO * max(x_max, _TINY))
        else:
            reach = np.sqrt(length / (_TWO * abs(scale)))
            for k in range(inputs):
                value = min(max(signed[s, k], -reach), reach)
                signed[s, k] = value
                sizes[s, k] = abs(value)
            bound = reach * abs(scale)
        for k in range(inputs, inputs + outputs):
            value = min(max(signed[s, k], -bound), bound)
            signed[s, k] = value
            sizes[s, k] = abs(value)


@_compiled("void(f4[:,::1], f4[::1], f4[:,::1])")
def chances(sizes: Array, lengths: Array, sums: Array) -> None:
    """Set ``sums`` (2, in + out) to the sums of ``sizes`` (b, in + out) and the mean probabilities of
    a slot."""
    sums[:] = _ZERO
    samples, signals = sizes.shape
    for s in range(samples):
        weight = _ROOT2 / np.sqrt(lengths[s])
        for k in range(signals):
            size = sizes[s, k]
            sums[0, k] += size
            sums[1, k] += weight * size * size
    for k in range(signals):
        sums[1, k] /= max(sums[0, k], _TINY)


@_compiled(
    "void(f4[:,::1], f4[:,::1], f4[::1], f4[::1], i2[:,::1],"
    " f4[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f8, f8)"
)
def move(
    half: Array,
    wanted: Array,
    of_rows: Array,
    of_columns: Array,
    noise: Array,
    weight: Array,
    steps: Array,
    slopes: Array,
    low: Array,
    high: Array,
    variance: float,
    scale: float,
) -> None:
    """Apply expected pulses to elements whose steps are linear in the weight.

    ``steps`` at weight 0 and ``slopes``: sums and differences of up and down (2, out, in), ``slopes``
    (2, 0, 0) where they vanish; ``noise`` integers of unit variance times ``1 / UNIT``; ``variance``
    that of a pulse; ``scale`` brings its root and ``noise`` to weight units.
    """
    rows, columns = weight.shape
    inverse, unit = np.float32(1 / variance), np.float32(scale)
    sloped = slopes.shape[1] > 0
    for r in range(rows):
        of_row = of_rows[r] * inverse
        for c in range(columns):
            w, n, d = weight[r, c], half[r, c], wanted[r, c]
            total, difference = steps[0, r, c], steps[1, r, c]
            if sloped:
                total += slopes[0, r, c] * w
                difference += slopes[1, r, c] * w
            flow = n * difference + d * total
            spread = (n * total + d * difference) * total + difference * flow
            spread *= _ONE - of_row * of_columns[c]
            flow += np.sqrt(max(spread, _ZERO)) * (noise[r, c] * unit)
            if sloped:
                t = _ONE + (n * slopes[1, r, c] + d * slopes[0, r, c]) * _SIXTH
                rest = max(t, _ZERO)
                flow /= _SIX + t * (rest * rest - _SIX)
            weight[r, c] = min(max(w + flow, low[r, c]), high[r, c])


@_compiled("void(f4[:,::1], f4[:,::1], f4[::1], f8, f8, b1, f8)")
def quantise(
    x: Array,
    q: Array,
    scale: Array,
    level: float,
    bound: float,
    managed: bool,
    factor: float,
) -> None:
    """Bring the rows of ``x`` (b, in) to levels of the input converter, ``q``.

    Also sets their ``scale`` (b,) to ``factor``, if ``managed`` times the largest size in the row (more
    than 0). ``level`` 0: not rounded; ``bound`` 0: not clipped.
    """
    samples, inputs = x.shape
    edge = np.float32(bound)
    for s in range(samples):
        top = _ONE
        if managed:
            top = _TINY
            for k in range(inputs):
                top = max(top, abs(x[s, k]))
        scale[s] = top * np.float32(factor)
        unit = scale[s] * np.float32(level) if level > 0 else scale[s]
        if level > 0:
            for k in range(inputs):
                q[s, k] = np.rint(x[s, k] / unit)
        else:
            for k in range(inputs):
                q[s, k] = x[s, k] / unit
        if bound > 0:
            for k in range(inputs):
                q[s, k] = min(max(q[s, k], -edge), edge)


@_compiled("b1(f4[:,::1], f4[:,::1], f4[::1], b1[::1], f8, f8, f8, f8)")
def convert(
    y: Array,
    noise: Array,
    scale: Array,
    saturated: Array,
    to_output: float,
    of_noise: float,
    step: float,
    bound: float,
) -> bool:
    """Bring products ``y`` (b, out) to levels of the output converter, round, clip and scale back.

    A level is ``to_output y + of_noise noise`` (``of_noise`` 0: ``noise`` is not looked at).
    ``saturated`` (b,) says which rows reached ``bound``; returned is whether one did. ``step`` 0: not
    rounded; ``bound`` 0: not clipped.
    """
    samples, outputs = y.shape
    found = False
    gain, deviation = np.float32(to_output), np.float32(of_noise)
    for s in range(samples):
        top = _ZERO
        unit = scale[s] * np.float32(step) if step > 0 else scale[s]
        for k in range(outputs):
            y[s, k] *= gain
        if of_noise > 0:
            for k in range(outputs):
                y[s, k] += deviation * noise[s, k]
        if step > 0:
            for k in range(outputs):
                y[s, k] = np.rint(y[s, k])
        for k in range(outputs):
            top = max(top, abs(y[s, k]))
            y[s, k] *= unit
        saturated[s] = bound > 0 and top >= np.float32(bound)
        if saturated[s]:
            found = True
            edge = np.float32(bound) * unit
            for k in range(outputs):
                y[s, k] = min(max(y[s, k], -edge), edge)
    return found


@_compiled("void(u8[::1])")
def fill(words: Array) -> None:
    """Fill ``words`` (n,) uint64 with random bits that follow from the first of them.

    SplitMix64 (Steele, Lea and Flood 2014): each word is a hash of its place, so that the loop needs
    no state and many run at once.
    """
    seed = words[0]
    for k in range(words.shape[0]):
        z = seed + np.uint64(k) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        words[k] = z ^ (z >> np.uint64(31))


@_compiled("void(f4[:,::1], u2[::1], f4[::1])")
def look_up(table: Array, indices: Array, out: Array) -> None:
    """Fill ``out`` (n,) with the pairs of ``table`` (65536, 2) at ``indices`` (at least n / 2)."""
    for k in range(out.size // 2):
        out[2 * k] = table[indices[k], 0]
        out[2 * k + 1] = table[indices[k], 1]
    if out.size % 2:
        out[-1] = table[indices[out.size // 2], 0]
