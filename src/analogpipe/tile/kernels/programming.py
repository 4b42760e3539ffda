"""Loops that send whole pulses to elements in main memory, compiled by Numba.

:mod:`analogpipe.tile.kernels.plain` says what they do. They look at most elements once, and only
at those that are due again.
"""

from typing import Any

import numpy as np

from analogpipe.tile.kernels.loops import Array, compiled

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_UNIT = np.float32(3**0.5 / 2**16)
_C1, _C3, _C5 = np.float32(0.9623472), np.float32(0.0092721), np.float32(0.001790982)
_C7, _C9 = np.float32(-0.0003616683), np.float32(3.803504e-05)


@compiled("u8(u8, i8)", __file__)
def word(seed: Any, place: int) -> Any:
    """Return the random word at ``place``, as :func:`analogpipe.tile.kernels.loops.fill` gives it."""
    z = seed + np.uint64(place) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled("f4(u8)", __file__)
def normal(bits: Any) -> Any:
    """Return a normal number of 64 random bits, as :func:`analogpipe.tile.kernels.loops.add_normal`."""
    one, two = (
        np.int16(bits & np.uint64(65535)),
        np.int16((bits >> np.uint64(16)) & np.uint64(65535)),
    )
    three, four = (
        np.int16((bits >> np.uint64(32)) & np.uint64(65535)),
        np.int16(bits >> np.uint64(48)),
    )
    total = np.float32(one) + np.float32(two) + np.float32(three)
    t = (total + np.float32(four) + _TWO) * _UNIT
    s = t * t
    bent = _C1 + s * (_C3 + s * (_C5 + s * (_C7 + s * _C9)))
    return t * bent


@compiled("i8(f4[:,::1], f4[::1], i8, i8, f8, i8, u8[::1], i8[::1], i4[::1])", __file__)
def take(
    residual: Array,
    unit: Array,
    first: int,
    count: int,
    gain: float,
    limit: int,
    words: Array,
    places: Array,
    pulses: Array,
) -> int:
    """Take whole pulses of ``unit`` (out,) off ``count`` rows of ``residual`` (out, in) from row
    ``first`` on.

    Fills ``places`` (flat indices) and ``pulses`` (negative for down) of the elements that fire, and
    returns their number. Random bits follow from the first of ``words``.
    """
    rows, columns = residual.shape
    seed, drawn, found = words[0], 0, 0
    for i in range(count):
        r = (first + i) % rows
        one = unit[r]
        top = _ZERO
        for c in range(columns):
            top = max(top, abs(residual[r, c]))
        if top < one:
            continue
        largest = np.float64(np.trunc(top / one))
        needed = largest * gain
        slots = int(min(np.ceil(needed), np.float64(limit)))
        share = min(1.0, needed / slots)
        for c in range(columns):
            if abs(residual[r, c]) < one:
                continue
            whole = np.trunc(residual[r, c] / one)
            residual[r, c] -= whole * one
            chance = abs(np.float64(whole)) / largest * share
            fired = slots
            if chance < 1.0:
                edge = np.uint64(chance * 2.0**32)
                fired = 0
                bits = np.uint64(0)
                for s in range(slots):
                    if s % 2 == 0:
                        bits = word(seed, drawn)
                        drawn += 1
                    else:
                        bits >>= np.uint64(32)
                    if (bits & np.uint64(0xFFFFFFFF)) < edge:
                        fired += 1
            if fired > 0:
                places[found] = r * columns + c
                pulses[found] = fired if whole > _ZERO else -fired
                found += 1
    return found


@compiled(
    "void(f4[::1], i8[::1], i4[::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[::1], f4[::1], f8, b1, u8[::1])",
    __file__,
)
def pulse(
    weight: Array,
    places: Array,
    pulses: Array,
    base: Array,
    offset: Array,
    slope: Array,
    low: Array,
    high: Array,
    noise: float,
    additive: bool,
    words: Array,
) -> None:
    """Give the elements of ``weight`` (n,) at ``places`` their ``pulses``, one after the other.

    The steps are ``offset + slope w`` (2, n), up and down; ``slope`` (2, 0) where they are the same
    everywhere. Random bits follow from the first of ``words``.
    """
    seed, drawn = words[0], 0
    deviation, sloped = np.float32(noise), slope.shape[1] > 0
    for i in range(places.shape[0]):
        place = places[i]
        way = 0 if pulses[i] > 0 else 1
        sign = _ONE if way == 0 else -_ONE
        start = offset[way, place]
        per_weight = slope[way, place] if sloped else _ZERO
        at_zero = base[way, place]
        w, least, most = weight[place], low[place], high[place]
        for _ in range(abs(pulses[i])):
            step = start + per_weight * w
            if noise > 0:
                step += deviation * normal(word(seed, drawn)) * (at_zero if additive else step)
                drawn += 1
            w = min(max(w + sign * step, least), most)
        weight[place] = w
