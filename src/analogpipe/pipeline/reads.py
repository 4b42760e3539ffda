"""Array reads of blocks: what their latency on analog hardware is proportional to."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from analogpipe.pipeline.layer import is_array_layer

_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@torch.no_grad()
def reads(blocks: Sequence[nn.Module], x: Tensor) -> list[int]:
    """Array reads of each block for a micro-batch ``x``, forward (backward takes as many).

    A layer reads its array once per input vector: a fully connected one once per sample (and place
    in a sequence), a convolution once per sample and output position. Digital layers count as the
    arrays that they would be; what has no matrix (activations, norms, pooling) takes no read. The
    blocks run once, in evaluation mode.
    """
    counts = [0]

    def count(module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor) -> None:
        is_convolution = hasattr(module, "kernel_size")
        channels = output.shape[1 if is_convolution else -1]
        counts[-1] += output.numel() // channels

    hooks = [
        part.register_forward_hook(count)
        for block in blocks
        for part in block.modules()
        if isinstance(part, _LAYERS) or is_array_layer(part)
    ]
    training = [[part.training for part in block.modules()] for block in blocks]
    try:
        for block in blocks:
            x = block.eval()(x)
            counts.append(0)
    finally:
        for hook in hooks:
            hook.remove()
        for block, modes in zip(blocks, training, strict=True):
            for part, mode in zip(block.modules(), modes, strict=True):
                part.training = mode
    return counts[:-1]
