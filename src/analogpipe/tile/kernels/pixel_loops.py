"""Loops over the pixels of a convolution's maps, compiled by Numba: to and from products in bfloat16.

Maps are (r, c): pixels of all images, and the channels of each side by side. bfloat16 is the upper half
of float32, here an unsigned integer. :mod:`analogpipe.tile.kernels.pixels` says what the loops are for;
:mod:`analogpipe.tile.kernels.plain` what their formulas mean.
"""

from typing import Any

import numpy as np

from analogpipe.tile.kernels.loops import Array, add_normal, compiled

_ZERO, _ONE, _TINY = np.float32(0), np.float32(1), np.float32(1e-30)


@compiled("u2(f4)", __file__)
def narrow(value: float) -> Any:
    """Round to bfloat16, to even."""
    bits = np.float32(value).view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))


@compiled("f4(u2)", __file__)
def widen(half: int) -> Any:
    """Return the value of a bfloat16."""
    return np.uint32(np.uint32(half) << np.uint32(16)).view(np.float32)


@compiled("void(f4[:,::1], f4[::1])", __file__)
def largest(x: Array, top: Array) -> None:
    """Find the largest size over the channels, ``top`` (r,)."""
    rows, channels = x.shape
    for r in range(rows):
        found = _ZERO
        for k in range(channels):
            found = max(found, abs(x[r, k]))
        top[r] = found


@compiled("void(f4[:,::1], f4[::1], u2[:,::1], b1, f8)", __file__)
def levels(x: Array, unit: Array, q: Array, rounds: bool, bound: float) -> None:
    """Bring images ``x`` (b, n) to levels of ``unit`` (b,), ``q``; ``bound`` 0: not clipped."""
    images, size = x.shape
    edge = np.float32(bound) if bound > 0 else np.float32(np.inf)
    for b in range(images):
        one = unit[b]
        for k in range(size):
            value = x[b, k] / one
            value = np.rint(value) if rounds else value
            q[b, k] = narrow(min(max(value, -edge), edge))


@compiled("void(f4[:,::1], f4[::1], u2[:,::1], f8, f8, b1)", __file__)
def levels_of_pixels(
    e: Array, scale: Array, q: Array, step: float, bound: float, managed: bool
) -> None:
    """Bring maps ``e`` to levels and back to their scale, ``q``.

    The ``scale`` (r,) of a pixel is set to its largest size if ``managed``, else to 1; ``step`` 0: not
    rounded; ``bound``, in levels, 0: not clipped.
    """
    rows, channels = e.shape
    edge = np.float32(bound) if bound > 0 else np.float32(np.inf)
    for r in range(rows):
        top = _ONE
        if managed:
            top = _TINY
            for k in range(channels):
                top = max(top, abs(e[r, k]))
        scale[r] = top
        unit = top * np.float32(step) if step > 0 else top
        inverse = _ONE / unit
        for k in range(channels):
            value = e[r, k] * inverse
            value = np.rint(value) if step > 0 else value
            q[r, k] = narrow(min(max(value, -edge), edge) * unit)


@compiled(
    "b1(u2[:,::1], f4[::1], f4[::1], b1[::1], f4[:,::1], u8[::1], f4[::1], f8, b1, f8)",
    __file__,
)
def convert(
    y: Array,
    gain: Array,
    back: Array,
    reached: Array,
    out: Array,
    words: Array,
    noise: Array,
    of_noise: float,
    rounds: bool,
    bound: float,
) -> bool:
    """Bring products ``y`` to levels of the output converter by ``gain`` (r,), add noise, round, clip
    and scale by ``back`` (r,), into ``out``.

    Returns whether ``bound`` was reached, and sets ``reached`` (r,) to where. Random bits follow from
    the first of ``words``; ``noise`` is room for numbers at a time, at least a row. ``bound`` 0: not
    clipped.
    """
    rows, channels = y.shape
    some = noise.shape[0] // channels
    seed, found = words[0], False
    edge = np.float32(bound) if bound > 0 else np.float32(np.inf)
    for begin in range(0, rows, some):
        many = min(some, rows - begin)
        noise[:] = _ZERO
        if of_noise > 0:
            add_normal(noise[: many * channels], of_noise, words, seed, begin * channels)
        for r in range(begin, begin + many):
            own = noise[(r - begin) * channels : (r - begin + 1) * channels]
            product, line, factor, scale = y[r], out[r], gain[r], back[r]
            for k in range(channels):
                value = widen(product[k]) * factor + own[k]
                own[k] = np.rint(value) if rounds else value
            top = _ZERO
            for k in range(channels):
                top = max(top, abs(own[k]))
            for k in range(channels):
                line[k] = min(max(own[k], -edge), edge) * scale
            if top >= edge:
                found = reached[r] = True
    return found


@compiled("void(u2[:,::1], f4[::1], f4[:,::1], u8[::1], f4[::1])", __file__)
def add_scaled_normal(y: Array, deviation: Array, out: Array, words: Array, noise: Array) -> None:
    """Set ``out`` to maps ``y`` and normal numbers times ``deviation`` (r,); the rest as before."""
    rows, channels = y.shape
    some, seed = noise.shape[0] // channels, words[0]
    for begin in range(0, rows, some):
        many = min(some, rows - begin)
        noise[:] = _ZERO
        add_normal(noise[: many * channels], 1.0, words, seed, begin * channels)
        for r in range(begin, begin + many):
            own = noise[(r - begin) * channels : (r - begin + 1) * channels]
            factor = deviation[r]
            for k in range(channels):
                out[r, k] = widen(y[r, k]) + own[k] * factor


@compiled("b1(f4[:,::1], u2[:,::1], u2[:,::1], f4[:,::1])", __file__)
def split(x: Array, signed: Array, sizes: Array, sums: Array) -> bool:
    """Round inputs, and their sizes; sum sizes and squares of each channel, ``sums`` (2, c).

    Returns whether there are negative ones: else both are the same, and ``sizes`` is not set.
    """
    rows, channels = x.shape
    least = _ZERO
    sums[:] = _ZERO
    total, squares = sums[0], sums[1]
    for r in range(rows):
        # a loop for each result: together they are not vectorised as well
        line, low = x[r], signed[r]
        for k in range(channels):
            low[k] = narrow(line[k])
        for k in range(channels):
            least = min(least, line[k])
        for k in range(channels):
            total[k] += abs(line[k])
        for k in range(channels):
            squares[k] += line[k] * line[k]
    if least < _ZERO:
        for r in range(rows):
            for k in range(channels):
                sizes[r, k] = signed[r, k] & np.uint16(0x7FFF)
        return True
    return False


@compiled("i8(f4[:,::1], f4[::1], u2[:,::1], u2[:,::1], f4[:,::1], f8, i8, b1)", __file__)
def condition(
    e: Array,
    x_top: Array,
    signed: Array,
    sizes: Array,
    sums: Array,
    rate: float,
    limit: int,
    shorten: bool,
) -> int:
    """Clip errors to what pulse trains of at most ``limit`` slots carry, and round them and their sizes.

    A pixel needs ``rate`` times its largest error times ``x_top`` (r,) slots. ``sums`` (2, c): of sizes,
    and of squares by the slots of their pixel. Returns the slots of all pixels.
    """
    rows, channels = e.shape
    longest, slots = np.float32(limit), 0
    sums[:] = _ZERO
    total, squares = sums[0], sums[1]
    for r in range(rows):
        top = _ZERO
        for k in range(channels):
            top = max(top, abs(e[r, k]))
        needed = top * x_top[r] * np.float32(rate)
        edge = top if needed <= longest else top * (longest / needed)
        length = min(max(np.ceil(needed), _ONE), longest) if shorten else longest
        slots += int(length)
        weight = _ONE / length
        for k in range(channels):
            value = min(max(e[r, k], -edge), edge)
            half = narrow(value)
            signed[r, k] = half
            sizes[r, k] = half & np.uint16(0x7FFF)
            total[k] += abs(value)
            squares[k] += weight * value * value
    return slots
