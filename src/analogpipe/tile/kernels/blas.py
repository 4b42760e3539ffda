"""The matrix product of torch, for compiled loops.

Loops call the same routine of the same library that :func:`torch.mm` calls, with the same arguments: the
sums have the same order and the results the same bytes. Where torch was built with another library,
there is none (:data:`FOUND`), and products are torch's.
"""

import ctypes
from pathlib import Path
from typing import Any

import torch
from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_NAME = "analogpipe_sgemm"
_LIBRARY = Path(torch.__file__).parent / "lib/libtorch_cpu.so"


def _find() -> int:
    """Return the address of MKL's ``sgemm`` in torch, 0 for none."""
    if not torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
        return 0
    try:
        found = ctypes.CDLL(str(_LIBRARY)).sgemm_
    except (OSError, AttributeError):
        return 0
    return ctypes.cast(found, ctypes.c_void_p).value or 0


_address = _find()
FOUND = _address != 0
"""Whether loops can form products."""
# loops that are never called may be compiled all the same, so that the name must stand for something
binding.add_symbol(_NAME, _address or 1)

PLAIN, TRANSPOSED = ord("N"), ord("T")


def _sgemm(
    context: Any,
    of_a: Any,
    of_b: Any,
    m: Any,
    n: Any,
    k: Any,
    a: Any,
    lda: Any,
    b: Any,
    ldb: Any,
    c: Any,
    ldc: Any,
) -> Any:
    arguments = of_a, of_b, m, n, k, a, lda, b, ldb, c, ldc

    def generate(target: Any, builder: Any, _: Any, values: Any) -> Any:
        letter, number, real = ir.IntType(8), ir.IntType(32), ir.FloatType()
        anything = letter.as_pointer()

        def held(value: Any, kind: Any) -> Any:
            place = cgutils.alloca_once(builder, kind)  # type: ignore[no-untyped-call]
            builder.store(value, place)
            return builder.bitcast(place, anything)

        def part(value: Any, kind: Any) -> Any:
            return held(builder.trunc(value, kind), kind)

        sizes = [part(value, number) for value in values[2:5]]
        matrices = [builder.inttoptr(value, anything) for value in values[5::2]]
        strides = [part(value, number) for value in values[6::2]]
        one, zero = (held(ir.Constant(real, value), real) for value in (1.0, 0.0))
        kind = ir.FunctionType(ir.VoidType(), [anything] * 13)
        module = builder.module
        function = cgutils.get_or_insert_function(module, kind, _NAME)  # type: ignore[no-untyped-call]
        of = [part(value, letter) for value in values[:2]]
        first = matrices[0], strides[0], matrices[1], strides[1]
        builder.call(function, [*of, *sizes, one, *first, zero, matrices[2], strides[2]])
        return target.get_dummy_value()

    return types.void(*arguments), generate


sgemm: Any = intrinsic(_sgemm)
"""Sets ``c`` (m, n) to ``a b``, as BLAS does: columns one after the other, ``ld`` apart; ``of_a`` and
``of_b`` are PLAIN or TRANSPOSED. All arguments are int64, and matrices their addresses."""
