"""A decoder-only transformer on characters, in blocks that a pipeline can cut between any two halves
of a layer (Vaswani et al., arXiv 1706.03762; norms before the maps as in GPT-2)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from analogpipe.seeds import generator

Linear = Callable[[int, int, str], nn.Module]
"""Makes a fully connected layer of so many inputs and outputs, under a name."""


def decoder(
    linear: Linear, *, layers: int, width: int, heads: int, context: int, vocabulary: int, seed: int
) -> list[nn.Module]:
    """Return ``2 layers`` blocks that map characters (B, T) to scores (B, vocabulary, T).

    A layer is two blocks, attention and feed-forward, each with two dense maps made by ``linear``.
    The first block embeds the characters and their places, the last one ends in a norm and the map to
    scores. Embeddings, norms, softmax and the products of queries, keys and values are digital.

    Raises:
        ValueError: the heads do not divide the width.
    """
    if width % heads:
        raise ValueError(f"width {width} is no multiple of heads {heads}")
    blocks: list[nn.Module] = []
    for index in range(layers):
        blocks.append(Attention(linear, width, heads, f"layer{index}.attention"))
        blocks.append(FeedForward(linear, width, f"layer{index}.feed_forward"))
    blocks[0] = nn.Sequential(Embedding(vocabulary, context, width, seed), blocks[0])
    blocks[-1] = nn.Sequential(blocks[-1], Scores(linear, width, vocabulary))
    return blocks


class Embedding(nn.Module):
    """The vectors of characters and of their places, added: (B, T) integers -> (B, T, width)."""

    def __init__(self, vocabulary: int, context: int, width: int, seed: int) -> None:
        super().__init__()
        stream = generator(seed, "embedding", "weight")
        self.characters = nn.Parameter(
            torch.empty(vocabulary, width).normal_(0, 0.02, generator=stream)
        )
        self.places = nn.Parameter(torch.empty(context, width).normal_(0, 0.02, generator=stream))

    def forward(self, x: Tensor) -> Tensor:
        """Look both up."""
        return nn.functional.embedding(x, self.characters) + self.places[: x.shape[1]]


class Attention(nn.Module):
    """Causal self-attention, added to its input: (B, T, width) -> (B, T, width)."""

    def __init__(self, linear: Linear, width: int, heads: int, name: str) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query_key_value = linear(width, 3 * width, f"{name}.query_key_value")
        self.out = linear(width, width, f"{name}.out")

    def forward(self, x: Tensor) -> Tensor:
        """Let each place look at those before it, and at itself."""
        batch, places, width = x.shape
        heads = self.query_key_value(self.norm(x)).view(batch, places, 3, self.heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4).unbind()
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        mixed: Tensor = self.out(seen.transpose(1, 2).reshape(batch, places, width))
        return x + mixed


class FeedForward(nn.Module):
    """Two dense maps with a GELU between, added to the input: (B, T, width) -> (B, T, width)."""

    def __init__(self, linear: Linear, width: int, name: str) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = linear(width, 4 * width, f"{name}.up")
        self.down = linear(4 * width, width, f"{name}.down")

    def forward(self, x: Tensor) -> Tensor:
        """Map each place by itself."""
        y: Tensor = self.down(gelu(self.up(self.norm(x))))
        return x + y


class Scores(nn.Module):
    """A norm and the map to scores: (B, T, width) -> (B, vocabulary, T), as cross_entropy takes them."""

    def __init__(self, linear: Linear, width: int, vocabulary: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.scores = linear(width, vocabulary, "scores")

    def forward(self, x: Tensor) -> Tensor:
        """Score the next character of each place."""
        scores: Tensor = self.scores(self.norm(x))
        return scores.transpose(1, 2)
