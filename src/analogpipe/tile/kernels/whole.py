"""A whole read and a whole update of an array in main memory, each one call of compiled code.

What :mod:`analogpipe.tile.kernels.loops` does in several calls, with the products of torch between
them, to the bit. Of a small array a call costs more than its loops. What changes from call to call
comes as the address of its memory, as an array of it takes longer to make than to read.
"""

from typing import Any

import numpy as np
from numba import carray, njit, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from analogpipe.tile.kernels import blas
from analogpipe.tile.kernels.blas import PLAIN, TRANSPOSED, sgemm
from analogpipe.tile.kernels.loops import (
    Array,
    add_normal,
    compiled,
    condition,
    convert,
    move,
    quantise,
)

_FILES = __file__, blas.__file__


def _pointer(context: Any, address: Any) -> Any:
    def generate(target: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], target.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(address), generate  # type: ignore[no-untyped-call]


_floats: Any = intrinsic(_pointer)
"""Returns an address as a pointer to float32."""


@njit(inline="always")
def _address(values: Array) -> int:
    return np.int64(values.ctypes.data)  # type: ignore[return-value]


@compiled(
    "b1(i8, i8, i8, i8, i8, i8, i8, i8, b1, f4[::1], f4[::1], b1[::1], u8[::1], u8,"
    " b1, f8, f8, f8, f8, f8, f8, f8, f8)",
    *_FILES,
)
def read(
    x_at: int,
    y_at: int,
    matrix_at: int,
    bias_at: int,
    samples: int,
    inputs: int,
    outputs: int,
    stride: int,
    transposed: bool,
    room: Array,
    scales: Array,
    reached: Array,
    words: Array,
    noise_of_inputs: int,
    managed: bool,
    factor: float,
    inp_step: float,
    out_step: float,
    inp_bound: float,
    out_bound: float,
    inp_noise: float,
    out_noise: float,
    to_output: float,
) -> bool:
    """Read a matrix (in, out) by each row of ``x`` (b, in) into ``y`` (b, out), and add a bias (out,).

    Rows of the matrix, columns if it is ``transposed``, are ``stride`` apart. ``bias_at`` 0: no
    bias. Room: ``room`` for the levels of inputs, ``scales`` and ``reached``, which says of the rows
    whether they reached ``out_bound``; returned is whether one did. Noise follows from the first of
    ``words``, that of inputs from ``noise_of_inputs``. The rest: :class:`analogpipe.tile.sections.Levels`.
    """
    x, y = (
        carray(_floats(x_at), (samples, inputs)),
        carray(_floats(y_at), (samples, outputs)),
    )
    flat = room[: samples * inputs]
    q, scale, saturated = flat.reshape(samples, inputs), scales[:samples], reached[:samples]
    quantise(x, q, scale, inp_step, inp_bound, managed, factor)
    if inp_noise > 0:
        seed = words[0]
        add_normal(flat, inp_noise, words, noise_of_inputs, 0)
        words[0] = seed
    how, of_q = TRANSPOSED if transposed else PLAIN, _address(q)
    sgemm(how, PLAIN, outputs, samples, inputs, matrix_at, stride, of_q, inputs, y_at, outputs)
    found = convert(y, scale, saturated, words, to_output, out_noise, out_step, out_bound)
    if bias_at != 0:
        bias = carray(_floats(bias_at), (outputs,))
        for s in range(samples):
            for k in range(outputs):
                y[s, k] += bias[k]
    return found


@compiled(
    "void(i8, i8, i8, f8, i8, b1, b1,"
    " f4[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f4[::1], f4[:,::1], i8[::1], u8[::1],"
    " f4[:,::1], f4[:,:,::1], f4[:,:,::1], f4[:,::1], f4[:,::1], f8, f8)",
    *_FILES,
)
def update(
    x_at: int,
    e_at: int,
    samples: int,
    factor: float,
    limit: int,
    balance: bool,
    shorten: bool,
    half: Array,
    wanted: Array,
    signed: Array,
    sizes: Array,
    lengths: Array,
    sums: Array,
    slots: Array,
    words: Array,
    weight: Array,
    steps: Array,
    slopes: Array,
    low: Array,
    high: Array,
    variance: float,
    scale: float,
) -> None:
    """Update ``weight`` (out, in) by ``x`` (b, in) and ``e`` (b, out); the rest as for
    :func:`analogpipe.tile.kernels.loops.condition` and :func:`analogpipe.tile.kernels.loops.move`."""
    outputs, inputs = weight.shape
    x, e = (
        carray(_floats(x_at), (samples, inputs)),
        carray(_floats(e_at), (samples, outputs)),
    )
    condition(x, e, signed, sizes, lengths, sums, slots, factor, limit, balance, shorten)
    both = inputs + outputs
    clipped_at, stride = x_at, inputs
    if not balance:
        clipped_at, stride = _address(signed), both
    e_of, x_sizes, e_sizes = (
        _address(signed[:, inputs:]),
        _address(sizes),
        _address(sizes[:, inputs:]),
    )
    shape = PLAIN, TRANSPOSED, inputs, outputs, samples
    sgemm(*shape, x_sizes, both, e_sizes, both, _address(half), inputs)
    sgemm(*shape, clipped_at, stride, e_of, both, _address(wanted), inputs)
    factors = sums[1, inputs:], sums[1, :inputs]
    move(half, wanted, *factors, words, weight, steps, slopes, low, high, variance, scale)
