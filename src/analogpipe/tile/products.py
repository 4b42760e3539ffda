"""Matrix products in float32 or in bfloat16.

In bfloat16 both factors are rounded to eight significant bits (relative error 2^-9 at most), their
products are summed in float32, and each sum is rounded once more as it is written: what comes out is
float32 again, off by 2^-9 of itself and by the rounding of its factors. Levels of converters, whole
numbers up to 256, are exact.

A product that is too small to gain is formed in float32 (:func:`pays`, :func:`convolution_pays`):
that depends on its sizes alone, so that results do not depend on the machine.
"""

import warnings
from functools import cache
from typing import Literal

import torch
from torch import Tensor

Format = Literal["float32", "bfloat16"]
"""The formats of products, by the names of their dtypes."""

LEAST = 2**21
"""Multiplications of a matrix product from which on bfloat16 is faster (docs/speed.md)."""
LEAST_OF_CONVOLUTION = 2**22
THINNEST = 8
"""Of the three sizes of a matrix product: thinner ones wait for memory, not for arithmetic."""
FEWEST_POSITIONS = 256
"""Of a convolution, over all images: fewer do not make up for the conversion of its kernel."""


def pays(rows: int, inner: int, columns: int) -> bool:
    """Whether a matrix product is faster in bfloat16, with the conversion of its factors."""
    sizes = rows, inner, columns
    return rows * inner * columns >= LEAST and min(sizes) >= THINNEST


def convolution_pays(positions: int, columns: int, outputs: int) -> bool:
    """Whether a convolution is faster in bfloat16: ``positions`` over all images, each ``outputs``
    sums of ``columns`` products (those of a group)."""
    return positions * columns * outputs >= LEAST_OF_CONVOLUTION and positions >= FEWEST_POSITIONS


def mm(a: Tensor, b: Tensor, dtype: torch.dtype, out: Tensor | None = None) -> Tensor:
    """Return ``a b``, (m, k) and (k, n) float32, as float32, of factors in ``dtype`` where that pays.

    ``out``: a float32 tensor for the product.
    """
    if dtype == torch.float32 or not pays(a.shape[0], a.shape[1], b.shape[1]):
        return torch.mm(a, b, out=out)
    product = torch.mm(a.to(dtype), b.to(dtype))
    return product.to(a.dtype) if out is None else out.copy_(product)


def dtype_of(products: str) -> torch.dtype:
    """Return the dtype of a format.

    Raises:
        ValueError: it is no :data:`Format`.
    """
    if products not in ("float32", "bfloat16"):
        raise ValueError(f"products: found {products!r}, allowed: float32, bfloat16")
    if products == "bfloat16":
        _warn_if_slow()
    found: torch.dtype = getattr(torch, products)
    return found


def is_fast() -> bool:
    """Whether the CPU multiplies in bfloat16 by instructions of its own (AVX512-BF16, AMX, or those of
    ARM), as torch finds it."""
    found = torch.cpu.get_capabilities()
    return any(found.get(key) for key in ("avx512_bf16", "amx_bf16", "bf16"))


@cache
def _warn_if_slow() -> None:
    """Say once in a process that bfloat16 will be slow on this CPU."""
    if not is_fast():
        warnings.warn(
            "products: bfloat16 will be slow here, as this CPU has neither AVX512-BF16 nor AMX; float32 "
            "is faster (analogpipe estimate measures both)",
            stacklevel=3,
        )
