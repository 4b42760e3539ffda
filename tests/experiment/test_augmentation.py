"""Random crops and mirrors of training images."""

import torch

from analogpipe.experiment.augmentation import PADDING, crop_flip
from analogpipe.seeds import generator


def test_every_image_is_a_crop_of_its_padded_self_mirrored_or_not():
    images = torch.randint(1, 256, (200, 3, 6, 7), dtype=torch.uint8, generator=generator(0, "x"))
    result = crop_flip(images, generator(0, "augmentation"))
    assert (result.shape, result.dtype) == (images.shape, images.dtype)
    padded = torch.nn.functional.pad(images, [PADDING] * 4)
    seen = set()
    for image, around in zip(result, padded, strict=True):
        found = [
            (dy, dx, mirrored)
            for dy in range(2 * PADDING + 1)
            for dx in range(2 * PADDING + 1)
            for mirrored in (False, True)
            if torch.equal(
                image.flip(2) if mirrored else image, around[:, dy : dy + 6, dx : dx + 7]
            )
        ]
        assert found
        seen.add(found[0])
    # 162 cases, 200 draws: about 115 different ones are expected
    assert len(seen) > 90
    assert {dy for dy, _, _ in seen} == {dx for _, dx, _ in seen} == set(range(2 * PADDING + 1))


def test_the_same_stream_gives_the_same_images():
    images = torch.randint(0, 256, (8, 1, 5, 5), dtype=torch.uint8, generator=generator(0, "x"))
    first, again, other = (crop_flip(images, generator(seed, "a")) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
