"""What blocks do on arrays: the layers that the cost model knows, and the reads that a cut balances."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from analogpipe.hardware.layers import Layer, Stage
from analogpipe.pipeline.layer import ArrayGroup, is_array_layer

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def reads(blocks: Sequence[nn.Module], x: Tensor) -> list[int]:
    """Array reads of each block for a micro-batch ``x``, forward (backward takes as many).

    A layer reads its array once per input vector: a fully connected one once per sample (and place
    in a sequence), a convolution once per sample and output position, of which replicas take a share
    each; the arrays of a large layer are read at the same time. Digital layers count as the arrays
    that they would be; what has no matrix (activations, norms, pooling) takes no read. The blocks run
    once, in evaluation mode.
    """
    counts = [0] * len(blocks)

    def count(i: int, path: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        counts[i] += -(-_vectors(module, y) // _replicas(module))

    _run(blocks, x, count)
    return counts


@torch.enable_grad()
def describe(blocks: Sequence[nn.Module], x: Tensor) -> list[Stage]:
    """Return each block as the cost model knows it: its layers in the order of a forward pass, and
    the values that it sends. For samples like those of ``x``, of which one is enough.

    Digital layers count as the arrays that they would be. A layer is named by the number of its
    block and its path there. It returns an error if something before it learns. Attention is found
    where ``scaled_dot_product_attention`` is called. Groups of a convolution are taken side by side
    on one array; a matrix that is no layer of its own, as in a GRU, counts as none. The blocks run
    once, in evaluation mode.
    """
    samples = len(x)
    found: list[list[Layer]] = [[] for _ in blocks]

    def note(i: int, path: str, module: nn.Module, x: Tensor, y: Tensor) -> None:
        kernel = getattr(module, "kernel_size", None)
        size = x.shape[-1] if kernel is None else x.shape[1] * prod(kernel) // _groups(module)
        layer = Layer(
            "linear" if kernel is None else "convolution",
            inputs=size + bool(getattr(module, "analog_bias", False)),
            outputs=y.shape[-1 if kernel is None else 1],
            positions=-(-_vectors(module, y) // samples),
            stored=None if kernel is None else x.numel() // samples,
            returns_error=x.requires_grad,
            replicas=_replicas(module),
            name=f"{i}.{path}" if path else f"{i}",
        )
        found[i].append(layer)

    def note_attention(i: int, query: Tensor) -> None:
        heads, tokens, width = (1, 1, *query.shape)[-3:]
        found[i].append(Layer("attention", heads * width, heads * width, tokens, name=f"{i}"))

    sent = _run(blocks, x, note, note_attention)
    return [
        Stage(tuple(layers), values // samples) for layers, values in zip(found, sent, strict=True)
    ]


def _layers(block: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers of a block with their paths; a group of arrays is one layer."""
    found: list[tuple[str, nn.Module]] = []
    inside: set[nn.Module] = set()
    for path, part in block.named_modules():
        group = isinstance(part, ArrayGroup)
        if part not in inside and (group or isinstance(part, _LAYERS) or is_array_layer(part)):
            inside.update(part.modules())
            found.append((path, part))
    return found


def _replicas(module: nn.Module) -> int:
    return int(getattr(module, "replicas", 1))


def _groups(module: nn.Module) -> int:
    return int(getattr(module, "groups", 1))


def _vectors(module: nn.Module, y: Tensor) -> int:
    """Input vectors for which a layer gave ``y``."""
    return y.numel() // y.shape[1 if hasattr(module, "kernel_size") else -1]


class _Attention(TorchFunctionMode):
    """Notes the query of each attention that is computed."""

    def __init__(self, note: Callable[[Tensor], None]) -> None:
        super().__init__()
        self._note = note

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is scaled_dot_product_attention:
            self._note(args[0] if args else kwargs["query"])
        return function(*args, **(kwargs or {}))


def _run(
    blocks: Sequence[nn.Module],
    x: Tensor,
    note: Callable[[int, str, nn.Module, Tensor, Tensor], None],
    note_attention: Callable[[int, Tensor], None] = lambda i, query: None,
) -> list[int]:
    """Run blocks in evaluation mode; ``note`` block, path, layer, input and output of each layer.

    Returns the number of values that each block gives.
    """

    def hook(i: int, path: str) -> Callable[..., None]:
        return lambda module, arguments, y: note(i, path, module, arguments[0], y)

    hooks = [
        part.register_forward_hook(hook(i, path))
        for i, block in enumerate(blocks)
        for path, part in _layers(block)
    ]
    training = [[part.training for part in block.modules()] for block in blocks]
    sent = []
    try:
        for i, block in enumerate(blocks):
            with _Attention(lambda query, i=i: note_attention(i, query)):  # type: ignore[misc]
                x = block.eval()(x)
            sent.append(x.numel())
    finally:
        for registered in hooks:
            registered.remove()
        for block, modes in zip(blocks, training, strict=True):
            for part, mode in zip(block.modules(), modes, strict=True):
                part.training = mode
    return sent
