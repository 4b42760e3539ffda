"""Random changes of training images that leave their class as it is."""

import torch
import torch.nn.functional as F
from torch import Tensor

PADDING = 4
"""Black pixels around an image before it is cropped to its size again."""


def crop_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image (b, c, h, w) by up to PADDING pixels, and mirror half of them left to right.

    The usual augmentation of CIFAR-10 (He et al., arXiv 1512.03385, section 4.2). The generator is
    one of the CPU, so that the choice does not depend on where the images are.
    """
    b, _, h, w = images.shape
    moves = torch.randint(0, 2 * PADDING + 1, (2, b, 1), generator=generator)
    mirrored = torch.randint(0, 2, (b, 1), generator=generator, dtype=torch.bool)
    columns = torch.where(mirrored, torch.arange(w - 1, -1, -1), torch.arange(w))
    rows, columns = (
        (torch.arange(h) + moves[0]).to(images.device),
        (columns + moves[1]).to(images.device),
    )
    padded = F.pad(images, [PADDING] * 4)
    index = torch.arange(b, device=images.device)[:, None, None]
    # indices around a slice come first: (b, h, w, c)
    return padded[index, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()
