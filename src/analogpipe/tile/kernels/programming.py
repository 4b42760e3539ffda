"""Loops that send whole pulses to elements in main memory, compiled by Numba.

:mod:`analogpipe.tile.kernels.plain` says what they do. They look at most elements once, and only
at those that are due again.
"""

from typing import Any

import numpy as np

from analogpipe.tile.kernels.loops import Array, compiled, fill

_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)
_LAST, _FULL, _CERTAIN = np.float32(2.0**-16), np.float32(65536), np.float32(65535.98)
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


@compiled("void(i4[::1], i4[::1], i8, u8[::1], u8, i8)", __file__)
def count_fired(
    fired: Array, chances: Array, slots: int, words: Array, seed: Any, start: int
) -> None:
    """Count how many of ``slots`` fire, for each of the ``chances`` (n,) in units of 2^-16.

    Random bits are those of ``seed`` from word ``start`` on; ``words`` is room for n / 4 + 1 of them.
    """
    size = fired.shape[0]
    room = size // 4 + 1
    bits = words.view(np.uint16)[:size]
    for k in range(size):
        fired[k] = 0
    for slot in range(slots):
        fill(words[:room], seed, start + slot * room)
        for k in range(size):
            fired[k] += np.int32(np.int32(bits[k]) < chances[k])


@compiled("void(f4[::1], f4, f4, i4[::1], i4[::1], i4[::1], u2[::1])", __file__)
def chances_of(
    line: Array, one: Any, share: Any, due: Array, wholes: Array, chances: Array, bits: Array
) -> None:
    """Take ``wholes`` of ``one`` off the elements ``due`` (n,) of a ``line``, and set their chances to
    fire, in units of 2^-16: ``share`` for each whole, rounded at random, so that means are right."""
    for k in range(due.shape[0]):
        c = due[k]
        whole = np.trunc(line[c] / one)
        line[c] -= whole * one
        wholes[k] = np.int32(whole)
        chance = abs(whole) * share
        rounded = np.int32(min(chance + np.float32(bits[k]) * _LAST, _FULL))
        # certain up to rounding is certain
        chances[k] = np.int32(65536) if chance > _CERTAIN else rounded


@compiled(
    "i8(f4[:,::1], f4[::1], i8, i8, f8, i8, u8[::1], i4[:,::1], i8[::1], i4[::1], i8[::1])",
    __file__,
)
def take(
    residual: Array,
    unit: Array,
    first: int,
    count: int,
    gain: float,
    limit: int,
    words: Array,
    room: Array,
    places: Array,
    pulses: Array,
    sent: Array,
) -> Any:
    """Take whole pulses of ``unit`` (out,) off ``count`` rows of ``residual`` (out, in) from row
    ``first`` on.

    Fills ``places`` (flat) and ``pulses`` (negative for down) of the elements that fire, and returns their
    number; adds the slots of the rows to ``sent`` (1,). Bits follow from the first of ``words``
    (in / 4 + 1); ``room`` is (4, in).
    """
    rows, columns = residual.shape
    seed, used = words[0], 1
    found: Any = 0
    for i in range(count):
        r = (first + i) % rows
        one, line, top = unit[r], residual[r], _ZERO
        for c in range(columns):
            top = max(top, abs(line[c]))
        if top < one:
            continue
        due: Any = 0
        for c in range(columns):  # always written, so that there is no branch to guess
            room[0, due] = c
            due += np.int64(abs(line[c]) >= one)
        largest = np.trunc(top / one)
        needed = np.float64(largest) * gain
        slots = int(min(np.ceil(needed), np.float64(limit)))
        sent[0] += slots
        share = np.float32(min(1.0, needed / slots) * 65536.0 / largest)
        wholes, chances, fired = room[1, :due], room[2, :due], room[3, :due]
        fill(words[: due // 4 + 1], seed, used)
        used += due // 4 + 1
        chances_of(line, one, share, room[0, :due], wholes, chances, words.view(np.uint16))
        if slots == 1 and share > _CERTAIN:
            fired[:] = 1
        else:
            count_fired(fired, chances, slots, words, seed, used)
            used += slots * (due // 4 + 1)
        for k in range(due):
            places[found] = r * columns + room[0, k]
            pulses[found] = fired[k] if wholes[k] > 0 else -fired[k]
            found += np.int64(fired[k] > 0)
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

    The noise of an element's pulses is drawn at once, with the variance that it has after all of them
    (the relaxation of the earlier ones included), while a single pulse hardly ever turns round
    (``noise`` up to 0.5); then clipping at the end is clipping after each.
    """
    seed, used = words[0], 0
    deviation, sloped = np.float32(noise), slope.shape[1] > 0
    at_once = noise <= 0.5
    for i in range(places.shape[0]):
        place, count = places[i], pulses[i]
        way = 0 if count > 0 else 1
        sign = _ONE if way == 0 else -_ONE
        start = offset[way, place]
        per_weight = slope[way, place] if sloped else _ZERO
        at_zero = base[way, place]
        w, least, most = weight[place], low[place], high[place]
        if at_once:
            variance, damping = _ZERO, _ONE + sign * per_weight
            damping *= damping
            for _ in range(abs(count)):
                step = start + per_weight * w
                w += sign * step
                unit = at_zero if additive else step
                variance = variance * damping + unit * unit
            if noise > 0:
                w += deviation * np.sqrt(variance) * normal(word(seed, used))
                used += 1
            w = min(max(w, least), most)
        else:
            for _ in range(abs(count)):
                step = start + per_weight * w
                step += deviation * normal(word(seed, used)) * (at_zero if additive else step)
                used += 1
                w = min(max(w + sign * step, least), most)
        weight[place] = w
