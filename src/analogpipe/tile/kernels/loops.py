"""Loops over the elements of arrays in main memory, compiled by Numba.

Each passes once over memory where torch needs an operation, and a pass, for every step of the same
formula; :mod:`analogpipe.tile.kernels.plain` says what the formulas mean. One thread; float32.
"""

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])
Array = np.ndarray[Any, np.dtype[Any]]
Elements = tuple[Array, Array, Array, Array, Array]
"""Of an array: weight, steps, slopes, low and high, as :func:`move` takes them."""

_ZERO, _ONE, _TWO, _SIX = np.float32(0), np.float32(1), np.float32(2), np.float32(6)
_TINY, _SIXTH, _ROOT2 = np.float32(1e-30), np.float32(1 / 6), np.float32(2**0.5)
# of t, t^3 ... t^9 in :func:`add_normal`
_C1, _C3, _C5 = np.float32(0.9623472), np.float32(0.0092721), np.float32(0.001790982)
_C7, _C9 = np.float32(-0.0003616683), np.float32(3.803504e-05)


def array(tensor: Tensor) -> Array:
    """Return a view of ``tensor``."""
    return cast(Array, tensor.detach().numpy())


@cache
def _digest(files: tuple[str, ...]) -> str:
    """Of the sources of a loop: of this file, whose loops others call, and of its own."""
    sources = dict.fromkeys((__file__, *files))
    return sha256(b"".join(Path(one).read_bytes() for one in sources)).hexdigest()[:12]


def compiled(signature: str, *files: str) -> Callable[[F], F]:
    """Compile a loop for one ``signature`` when it is defined, or take it from Numba's cache. ``files``
    hold its source, if this one does not."""
    # without these licences no loop with a division, a maximum or a sum of products is vectorised
    options: dict[str, Any] = {"fastmath": {"contract", "nnan", "nsz"}, "error_model": "numpy"}

    def of(function: F) -> F:
        # part of the file's name: code of other sources is never taken, whatever the cache holds
        function.__qualname__ = f"{function.__name__}_{_digest(files)}"
        try:
            return cast(F, njit(signature, cache=True, **options)(function))
        except (RuntimeError, OSError, EOFError, UnpicklingError):
            # nowhere to keep compiled code, or what is kept is damaged: compile for this process
            return cast(F, njit(signature, **options)(function))

    return of


@compiled("void(u8[::1], u8, i8)")
def fill(words: Array, seed: int, start: int) -> None:
    """Fill ``words`` (n,) uint64 with random bits that follow from ``seed``, from word ``start`` on.

    SplitMix64 (Steele, Lea and Flood 2014): each word is a hash of its place, so that the loop needs
    no state and many run at once.
    """
    first = seed + np.uint64(start) * np.uint64(0x9E3779B97F4A7C15)
    for k in range(words.shape[0]):
        z = first + np.uint64(k) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        words[k] = z ^ (z >> np.uint64(31))


@compiled("void(f4[::1], f8, u8[::1], u8, i8)")
def add_normal(out: Array, factor: float, words: Array, seed: int, start: int) -> None:
    """Add to ``out`` (n,) ``factor`` times normal numbers, by the random bits of ``seed`` from word
    ``start`` on. ``words`` is room for some of them at a time.

    The sum of four uniform numbers of 16 bits is bent into a normal one by an odd polynomial (Teichroew
    1953; Knuth, The Art of Computer Programming 2, 3.4.1). Its coefficients are a least-squares fit of
    the normal quantile: off in probability by 1.6e-4 at most, kurtosis 3.000, by 3 % in the numbers
    beyond 3 to 4 standard deviations. From 4.3 on they thin out; none is beyond 5.2.
    """
    size, room = out.shape[0], words.shape[0]
    deviation, unit = np.float32(factor), np.float32(3**0.5 / 2**16)
    for begin in range(0, size, room):
        part = out[begin : begin + room]
        some = part.shape[0]
        fill(words[:some], seed, start + begin)
        bits = words.view(np.int16)
        # slices: an index that might be negative would keep the loop from being vectorised
        one, two = bits[:some], bits[some : 2 * some]
        three, four = bits[2 * some : 3 * some], bits[3 * some : 4 * some]
        for k in range(some):
            total = np.float32(one[k]) + np.float32(two[k]) + np.float32(three[k])
            t = (total + np.float32(four[k]) + _TWO) * unit
            s = t * t
            bent = _C1 + s * (_C3 + s * (_C5 + s * (_C7 + s * _C9)))
            part[k] += deviation * t * bent


@compiled(
    "void(f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[::1], f4[:,::1], i8[::1], f8, i8, b1, b1)"
)
def condition(
    x: Array,
    e: Array,
    signed: Array,
    sizes: Array,
    lengths: Array,
    sums: Array,
    slots: Array,
    factor: float,
    limit: int,
    balance: bool,
    shorten: bool,
) -> None:
    """Clip ``x`` (b, in) and ``factor e`` (b, out) to what pulse trains of at most ``limit`` carry.

    Results: ``signed`` and ``sizes`` (b, in + out), the ``lengths`` (b,) of the trains, which are
    added to ``slots`` (1,), and ``sums`` (2, in + out): of the sizes, and the mean probabilities of a
    slot. ``factor`` is ``-lr / 2g``. With
    ``balance`` no ``x`` is clipped, and its part of ``signed`` is left as it was.
    """
    samples, inputs = x.shape
    outputs = e.shape[1]
    scale, longest = np.float32(factor), np.float32(limit)
    sums[:] = _ZERO
    for s in range(samples):
        x_max, e_max = _ZERO, _ZERO
        for k in range(inputs):
            size = abs(x[s, k])
            sizes[s, k] = size
            x_max = max(x_max, size)
        for k in range(outputs):
            value = scale * e[s, k]
            signed[s, inputs + k] = value
            sizes[s, inputs + k] = abs(value)
            e_max = max(e_max, abs(value))
        needed = _TWO * x_max * e_max
        length = min(max(np.ceil(needed), _ONE), longest) if shorten else longest
        lengths[s] = length
        slots[0] += np.int64(length)
        bound = longest / (_TWO * max(x_max, _TINY))
        if not balance:
            reach = np.sqrt(length / (_TWO * abs(scale)))
            for k in range(inputs):
                value = min(max(x[s, k], -reach), reach)
                signed[s, k] = value
                sizes[s, k] = abs(value)
            bound = reach * abs(scale)
        if not balance or needed > longest:
            for k in range(inputs, inputs + outputs):
                value = min(max(signed[s, k], -bound), bound)
                signed[s, k] = value
                sizes[s, k] = abs(value)
        weight = _ROOT2 / np.sqrt(length)
        for k in range(inputs + outputs):
            size = sizes[s, k]
            sums[0, k] += size
            sums[1, k] += weight * size * size
    for k in range(inputs + outputs):
        sums[1, k] /= max(sums[0, k], _TINY)


@compiled(
    "void(f4[:,::1], f4[:,::1], f4[::1], f4[::1], u8[::1],"
    " f4[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f8, f8)"
)
def move(
    half: Array,
    wanted: Array,
    of_rows: Array,
    of_columns: Array,
    words: Array,
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
    (2, 0, 0) where they vanish; ``variance`` that of a pulse; ``scale`` brings its root and 16 random
    bits to weight units. The bits follow from the first of ``words`` (at least in / 4 + 2), which are
    overwritten.
    """
    rows, columns = weight.shape
    seed = words[0]
    inverse, unit = np.float32(1 / variance), np.float32(scale)
    sloped = slopes.shape[1] > 0
    for r in range(rows):
        of_row = of_rows[r] * inverse
        begin = r * columns
        fill(words, seed, begin // 4)
        noise = words.view(np.int16)[begin % 4 :]
        for c in range(columns):
            w, n, d = weight[r, c], half[r, c], wanted[r, c]
            total, difference = steps[0, r, c], steps[1, r, c]
            if sloped:
                total += slopes[0, r, c] * w
                difference += slopes[1, r, c] * w
            flow = n * difference + d * total
            spread = (n * total + d * difference) * total + difference * flow
            spread *= _ONE - of_row * of_columns[c]
            flow += np.sqrt(max(spread, _ZERO)) * (noise[c] * unit)
            if sloped:
                t = _ONE + (n * slopes[1, r, c] + d * slopes[0, r, c]) * _SIXTH
                rest = max(t, _ZERO)
                flow /= _SIX + t * (rest * rest - _SIX)
            weight[r, c] = min(max(w + flow, low[r, c]), high[r, c])


@compiled("void(f4[:,::1], f4[:,::1], f4[::1], f8, f8, b1, f8)")
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


@compiled("b1(f4[:,::1], f4[::1], b1[::1], u8[::1], f8, f8, f8, f8)")
def convert(
    y: Array,
    scale: Array,
    saturated: Array,
    words: Array,
    to_output: float,
    of_noise: float,
    step: float,
    bound: float,
) -> bool:
    """Bring products ``y`` (b, out) to levels of the output converter, round, clip and scale back.

    A level is ``to_output y`` and ``of_noise`` times a normal number (0: none), by bits that follow
    from the first of ``words``, which are overwritten.
    ``saturated`` (b,) says which rows reached ``bound``; returned is whether one did. ``step`` 0: not
    rounded; ``bound`` 0: not clipped.
    """
    samples, outputs = y.shape
    seed = words[0]
    found = False
    gain = np.float32(to_output)
    for s in range(samples):
        top = _ZERO
        unit = scale[s] * np.float32(step) if step > 0 else scale[s]
        for k in range(outputs):
            y[s, k] *= gain
        if of_noise > 0:
            add_normal(y[s], of_noise, words, seed, s * outputs)
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
