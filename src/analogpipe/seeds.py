"""Independent random streams, addressed by a seed and a path, so that no draw depends on another's order."""

import hashlib

import torch


def generator(seed: int, *path: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return the random stream of ``(seed, path)``.

    Streams of different paths are independent for all practical purposes: the generator is
    seeded with a 63-bit hash of the seed and the path. The same address always gives the same stream.
    """
    address = "/".join(str(part) for part in (seed, *path))
    digest = hashlib.blake2b(address.encode(), digest_size=8).digest()
    stream = torch.Generator(device=device)
    stream.manual_seed(int.from_bytes(digest, "little") >> 1)
    return stream
