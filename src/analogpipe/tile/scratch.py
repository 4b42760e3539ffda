"""Work space that is reused from call to call, because fresh pages are dear."""

import threading
from collections.abc import Callable, Hashable
from math import prod
from typing import Any, TypeVar

import torch

T = TypeVar("T")

MOST = 256
"""Shapes remembered at a time: where sizes never repeat, remembering them would fill the memory."""

Key = tuple[str, torch.device, torch.dtype]


class _Spaces(threading.local):
    """The buffers of a thread, and the views of each that were asked for."""

    def __init__(self) -> None:
        self.buffers: dict[Key, torch.Tensor] = {}
        self.views: dict[Key, dict[tuple[int, ...], torch.Tensor]] = {}
        self.kept: dict[Hashable, Any] = {}


_spaces = _Spaces()


def scratch(
    name: str, shape: tuple[int, ...], like: torch.Tensor, dtype: torch.dtype | None = None
) -> torch.Tensor:
    """Return an uninitialised tensor of ``shape`` on the device of ``like``.

    Its memory is shared by all calls with the same ``name`` in the same thread: it holds a value
    only until the next such call. The buffer grows to the largest request.
    """
    key = (name, like.device, dtype or like.dtype)
    try:
        return _spaces.views[key][shape]
    except KeyError:
        pass
    size = prod(shape)
    buffer = _spaces.buffers.get(key)
    # an ordinary tensor even where the first caller is in inference mode
    with torch.inference_mode(False):
        if buffer is None or buffer.numel() < size:
            buffer = torch.empty(size, device=like.device, dtype=dtype or like.dtype)
            _spaces.buffers[key] = buffer
            _spaces.views[key] = {}
            _spaces.kept.clear()  # what holds views of the smaller one
        views = _spaces.views[key]
        if len(views) >= MOST:
            views.clear()
        view = views[shape] = buffer[:size].view(shape)
    return view


def kept(key: Hashable, make: Callable[[], T]) -> T:
    """Return what ``make`` returned at the first call with this ``key`` in this thread.

    For work spaces that hold more than a tensor of scratch memory.
    """
    try:
        found: T = _spaces.kept[key]
    except KeyError:
        with torch.inference_mode(False):
            found = make()
        if len(_spaces.kept) >= MOST:
            _spaces.kept.clear()
        _spaces.kept[key] = found
    return found
