"""The layout of tensors that leave a stage: kernels may sum in another order where strides differ.

A message keeps the order of its dimensions in memory, so that a stage computes on what it would
compute on in one piece, to the bit; channels that come last stay last.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def dense(tensor: Tensor) -> Tensor:
    """Return ``tensor``, or a copy without gaps or overlaps whose dimensions are ordered alike."""
    return tensor if tensor.is_contiguous() else tensor.clone()


def order(tensor: Tensor) -> list[int]:
    """Return the dimensions of a dense tensor from the slowest in memory to the fastest."""
    if tensor.is_contiguous():
        return list(range(tensor.dim()))
    strides = tensor.stride()  # of two alike one is of a dimension of size 1: it stays where it is
    return sorted(range(tensor.dim()), key=lambda i: (-strides[i], i))


def packed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Return entries of a checkpoint, which knows no strides, from which :func:`unpacked` makes a copy
    of a dense tensor."""
    dimensions = order(tensor)
    entries = {name: tensor.detach().permute(dimensions).clone()}
    if not tensor.is_contiguous():
        entries[f"{name}.order"] = torch.tensor(dimensions)
    return entries


def unpacked(entries: Mapping[str, Tensor], name: str) -> Tensor:
    """Return the tensor of which :func:`packed` made these entries."""
    flat = entries[name].clone()
    return laid(flat, entries[f"{name}.order"].tolist()) if f"{name}.order" in entries else flat


def laid(flat: Tensor, order: Sequence[int]) -> Tensor:
    """Return the tensor of which ``flat`` is ``tensor.permute(order)``."""
    inverse = sorted(range(len(order)), key=lambda place: order[place])
    return flat.permute(inverse)
