"""Reads of a matrix in main memory by compiled loops: in one call where they can form the product."""

import threading

import numpy as np
import torch
from torch import Tensor

from analogpipe.tile.kernels import loops, whole
from analogpipe.tile.kernels.blas import FOUND
from analogpipe.tile.kernels.loops import Array, array
from analogpipe.tile.noise import ANY
from analogpipe.tile.products import mm, pays
from analogpipe.tile.sections import ReadoutConfig

ROOM = 512
"""Words of random bits that are made and used at a time: they stay in the nearest cache."""


class _Space(threading.local):
    """Work space of a thread, for the most samples and inputs so far."""

    def __init__(self) -> None:
        with torch.inference_mode(False):
            words = torch.empty(ROOM, dtype=torch.int64)
        self.seed = words[:1]
        self._words = words.numpy().view(np.uint64)
        self._samples = self._levels = 0

    def of(self, samples: int, inputs: int) -> tuple[Array, Array, Array, Array]:
        """Return room for levels of inputs, for scales and saturations of rows, and for random bits."""
        if samples > self._samples or samples * inputs > self._levels:
            self._samples = max(samples, self._samples)
            self._levels = max(samples * inputs, self._levels)
            # aligned as torch does it, by which its products choose how they sum
            levels, scales = (array(torch.empty(n)) for n in (self._levels, self._samples))
            self._arrays = levels, scales, np.empty(self._samples, np.bool_), self._words
        return self._arrays


_space = _Space()


class Reading:
    """Reads ``matrix`` (in, out) once, as :class:`analogpipe.tile.kernels.backend.Once` says."""

    def __init__(self, matrix: Tensor, config: ReadoutConfig, dtype: torch.dtype) -> None:
        self._matrix, self._levels, self._dtype = matrix, config.levels, dtype
        self._inputs, self._outputs = matrix.shape
        self._managed = config.noise_management == "abs_max"
        self._again = config.bound_management == "iterative"
        down, across = matrix.stride()
        self._transposed = down == 1 and across >= self._inputs
        self._stride = across if self._transposed else down
        laid = self._transposed or (across == 1 and down >= self._outputs)
        self._at_once = FOUND and laid

    def __call__(
        self, x: Tensor, factor: float, generator: torch.Generator, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Read once, at ``factor`` times the scale; also which rows reached the bound, None for none."""
        n, samples, matrix = self._levels, x.shape[0], self._matrix
        # into a tensor of its own kind, also under autocast
        y = matrix.new_empty(samples, self._outputs)
        low = self._dtype != torch.float32 and pays(samples, self._inputs, self._outputs)
        if low or not (self._at_once and samples):
            return y, self._in_parts(x.contiguous(), factor, generator, bias, y)
        x = x.contiguous()
        room, noise_of_inputs = _space.of(samples, self._inputs), 0
        if n.inp_noise > 0:
            _space.seed.random_(ANY, None, generator=generator)
            noise_of_inputs = int(room[3][0])
        if n.out_noise > 0:
            _space.seed.random_(ANY, None, generator=generator)
        found = whole.read(
            address(x, samples * self._inputs),
            y.data_ptr(),
            matrix.data_ptr(),
            0 if bias is None else address(bias, self._outputs),
            samples,
            self._inputs,
            self._outputs,
            self._stride,
            self._transposed,
            *room,
            noise_of_inputs,
            self._managed,
            factor,
            *n,
        )
        return y, _rows(room[2], samples) if found and self._again else None

    def _in_parts(
        self,
        x: Tensor,
        factor: float,
        generator: torch.Generator,
        bias: Tensor | None,
        y: Tensor,
    ) -> Tensor | None:
        """The same into ``y``, each conversion in one pass, with the product of torch."""
        n, samples = self._levels, x.shape[0]
        levels, scales, reached, words = _space.of(samples, self._inputs)
        flat, scale, saturated = (
            levels[: samples * self._inputs],
            scales[:samples],
            reached[:samples],
        )
        q = flat.reshape(samples, self._inputs)
        loops.quantise(array(x), q, scale, n.inp_step, n.inp_bound, self._managed, factor)
        if n.inp_noise > 0:
            _space.seed.random_(ANY, None, generator=generator)
            loops.add_normal(flat, n.inp_noise, words, words[0], 0)
        mm(torch.from_numpy(q), self._matrix, self._dtype, out=y)
        if n.out_noise > 0:
            _space.seed.random_(ANY, None, generator=generator)
        numbers = n.to_output, n.out_noise, n.out_step, n.out_bound
        found = loops.convert(array(y), scale, saturated, words, *numbers)
        if bias is not None:
            y.add_(bias)
        return _rows(reached, samples) if found and self._again else None


def _rows(reached: Array, samples: int) -> Tensor:
    return torch.from_numpy(reached[:samples].copy())


def address(tensor: Tensor, size: int) -> int:
    """Return where a tensor of ``size`` elements lies, for a loop that trusts it.

    Raises:
        TypeError: it has other elements than float32, one after the other, in main memory.
    """
    fits = tensor.dtype is torch.float32 and tensor.numel() == size and tensor.is_contiguous()
    if not fits or not tensor.is_cpu or tensor.is_neg():
        raise TypeError(
            f"found {tensor.numel()} elements of {tensor.dtype} on {tensor.device}, allowed: {size} of "
            "torch.float32 in main memory"
        )
    return tensor.data_ptr()
