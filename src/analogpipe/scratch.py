"""Work space that is reused from call to call, because fresh pages are dear."""

import threading
from math import prod

import torch

_local = threading.local()


def scratch(
    name: str, shape: tuple[int, ...], like: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Return an uninitialised tensor of ``shape`` on the device of ``like``.

    Its memory is shared by all calls with the same ``name`` in the same thread: it holds a value
    only until the next such call. The buffer grows to the largest request.
    """
    buffers: dict[tuple[str, torch.device, torch.dtype], torch.Tensor]
    try:
        buffers = _local.buffers
    except AttributeError:
        buffers = _local.buffers = {}
    key = (name, like.device, dtype or like.dtype)
    size = prod(shape)
    buffer = buffers.get(key)
    if buffer is None or buffer.numel() < size:
        buffer = buffers[key] = torch.empty(size, device=like.device, dtype=dtype or like.dtype)
    return buffer[:size].view(shape)
