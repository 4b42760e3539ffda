"""Loops over the maps of a convolution in main memory, compiled by Numba.

Maps are (b, g, c, p): images, groups, channels of a group, positions; what has one number for all
channels of a group is (b, g, p). :mod:`analogpipe.tile.kernels.plain` says what the loops do; they
round as torch does, operation by operation, block by block of what the nearest cache holds.
"""

import numpy as np

from analogpipe.tile.kernels.loops import Array, add_normal, compiled

_ZERO = np.float32(0)


@compiled("void(f4[:,:,:,::1], f4[:,:,::1])", __file__)
def largest(x: Array, top: Array) -> None:
    """Find the largest size at each position, ``top`` (b, g, p)."""
    images, groups, channels, places = x.shape
    for b in range(images):
        for g in range(groups):
            found = top[b, g]
            found[:] = _ZERO
            for c in range(channels):
                line = x[b, g, c]
                for p in range(places):
                    found[p] = max(found[p], abs(line[p]))


@compiled("void(f4[:,::1], f4[::1], f4[:,::1], b1, f8)", __file__)
def levels(x: Array, unit: Array, q: Array, rounds: bool, bound: float) -> None:
    """Bring images ``x`` (b, n) to levels of ``unit`` (b,), ``q``; ``bound`` 0: not clipped."""
    images, size = x.shape
    edge = np.float32(bound)
    for b in range(images):
        one = unit[b]
        for k in range(size):
            value = x[b, k] / one
            q[b, k] = np.rint(value) if rounds else value
        if bound > 0:
            for k in range(size):
                q[b, k] = min(max(q[b, k], -edge), edge)


@compiled("void(f4[:,:,:,::1], f4[:,:,::1], f4[:,:,:,::1], b1, f8, b1)", __file__)
def levels_of_positions(
    x: Array, unit: Array, q: Array, rounds: bool, bound: float, back: bool
) -> None:
    """Bring maps ``x`` to levels of ``unit`` (b, g, p), ``q``; with ``back`` to scale again."""
    images, groups, channels, places = x.shape
    edge = np.float32(bound)
    for b in range(images):
        for g in range(groups):
            one = unit[b, g]
            for c in range(channels):
                line, out = x[b, g, c], q[b, g, c]
                for p in range(places):
                    value = line[p] / one[p]
                    out[p] = np.rint(value) if rounds else value
                if bound > 0:
                    for p in range(places):
                        out[p] = min(max(out[p], -edge), edge)
                if back:
                    for p in range(places):
                        out[p] *= one[p]


@compiled("void(f4[::1], i8, f4[:,::1], i8)", __file__)
def scale(part: Array, begin: int, factors: Array, channels: int) -> None:
    """Multiply ``part``, flat maps from place ``begin`` on, by ``factors`` (b g, p)."""
    places, k = factors.shape[1], 0
    while k < part.shape[0]:
        line, p = (begin + k) // places, (begin + k) % places
        some = min(places - p, part.shape[0] - k)
        own, factor = part[k : k + some], factors[line // channels, p : p + some]
        for i in range(some):
            own[i] *= factor[i]
        k += some


@compiled("b1(f4[::1], f4[:,::1], f4[:,::1], b1[:,::1], i8, u8[::1], i8, f8, b1, f8)", __file__)
def convert(
    y: Array,
    gain: Array,
    back: Array,
    reached: Array,
    channels: int,
    words: Array,
    room: int,
    of_noise: float,
    rounds: bool,
    bound: float,
) -> bool:
    """Bring flat maps ``y`` to levels of the output converter by ``gain`` (b g, p), add noise, round,
    clip and scale by ``back``.

    Returns whether ``bound`` was reached, and sets ``reached`` (b g, p) to where. Random bits follow
    from the first of ``words``, of which ``room`` are used at a time. ``bound`` 0: not clipped.
    """
    size, places = y.shape[0], gain.shape[1]
    seed, edge, found = words[0], np.float32(bound), False
    for begin in range(0, size, room):
        part = y[begin : begin + room]
        scale(part, begin, gain, channels)
        if of_noise > 0:
            add_normal(part, of_noise, words[:room], seed, begin)
        if rounds:
            for k in range(part.shape[0]):
                part[k] = np.rint(part[k])
        if bound > 0:
            top = _ZERO
            for k in range(part.shape[0]):
                top = max(top, abs(part[k]))
            if top >= edge:
                found = True
                for k in range(part.shape[0]):
                    if abs(part[k]) >= edge:
                        place = begin + k
                        reached[place // places // channels, place % places] = True
                        part[k] = min(max(part[k], -edge), edge)
        scale(part, begin, back, channels)
    return found


@compiled("void(f4[::1], f4[:,::1], i8, u8[::1], i8, f4[::1])", __file__)
def add_scaled_normal(
    y: Array, deviation: Array, channels: int, words: Array, room: int, noise: Array
) -> None:
    """Add to flat maps ``y`` normal numbers times ``deviation`` (b g, p). ``noise`` is room for
    ``room`` of them; random bits as in :func:`convert`."""
    seed, places = words[0], deviation.shape[1]
    for begin in range(0, y.shape[0], room):
        part = y[begin : begin + room]
        own = noise[: part.shape[0]]
        own[:] = _ZERO
        add_normal(own, 1.0, words[:room], seed, begin)
        k = 0
        while k < part.shape[0]:
            line, p = (begin + k) // places, (begin + k) % places
            some = min(places - p, part.shape[0] - k)
            factor = deviation[line // channels, p : p + some]
            for i in range(some):
                part[k + i] += own[k + i] * factor[i]
            k += some
