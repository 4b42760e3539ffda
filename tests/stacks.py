"""Random stacks of torch modules on sequences (B, T, C) in double precision, for the tests of the pipeline."""

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations

BATCH, PLACES, CHANNELS, WORDS, CLASSES = 3, 4, 6, 9, 5


class Along(nn.Module):
    """A module on (B, C, T), such as a convolution or a batch norm; the output is no contiguous tensor."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x.transpose(1, 2)).transpose(1, 2)


class Residual(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return x + self.module(x)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(CHANNELS, 2, dropout=0.2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.attention(x, x, x, need_weights=False)
        return y


class Recurrent(nn.Module):
    """Keeps no state between batches."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(CHANNELS, CHANNELS, batch_first=True, num_layers=2, dropout=0.2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.gru(x)
        return y


class Places(nn.Module):
    """Adds a learned vector of each place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(PLACES, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.embedding(torch.arange(PLACES))


class Adds(nn.Module):
    """Writes to its input."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        return x.add_(self.bias)


class Skipped(nn.Module):
    """Stochastic depth: which graph there is depends on a draw."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return x if torch.rand(()) < 0.4 else self.module(x)


def may_round_otherwise(blocks: list[nn.Module]) -> bool:
    """Whether a cut may change the layout of a gradient, and with it the order of its sums: where a
    layer writes to what may be a view, and where the graph changes from micro-batch to micro-batch."""
    return any(
        isinstance(part, Skipped | Adds) or getattr(part, "inplace", False)
        for block in blocks
        for part in block.modules()
    )


class NoisyBackward(nn.Module):
    """Draws in its backward."""

    class _Noise(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, gradient):
            return gradient * (1 + 0.1 * torch.randn_like(gradient))

    def forward(self, x: Tensor) -> Tensor:
        return self._Noise.apply(x)


class Checkpointed(nn.Module):
    """Computes its activations again in the backward, draws included."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return torch.utils.checkpoint.checkpoint(self.module, x, use_reentrant=False)


class Diary(nn.Module):
    """Notes what it gave, for people to look at."""

    def forward(self, x: Tensor) -> Tensor:
        self.last = x.sin()
        return self.last


def linear() -> nn.Module:
    return nn.Linear(CHANNELS, CHANNELS)


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


def twice(module: nn.Module) -> nn.Module:
    return nn.Sequential(module, nn.Tanh(), module)


PLAIN = [
    linear,
    lambda: nn.Linear(CHANNELS, CHANNELS, bias=False),
    lambda: Along(nn.Conv1d(CHANNELS, CHANNELS, 3, padding=1)),
    lambda: nn.LayerNorm(CHANNELS),
    lambda: Along(nn.BatchNorm1d(CHANNELS)),
    lambda: Along(nn.GroupNorm(2, CHANNELS)),
    lambda: nn.Dropout(0.3),
    lambda: nn.Dropout(0.3, inplace=True),
    lambda: nn.AlphaDropout(0.2),
    nn.Tanh,
    nn.GELU,
    nn.ReLU,
    lambda: nn.ReLU(inplace=True),
    lambda: nn.LeakyReLU(0.2, inplace=True),
    nn.Identity,
    Attention,
    Recurrent,
    Places,
    Adds,
    NoisyBackward,
    Diary,
    lambda: parametrizations.weight_norm(linear()),
    lambda: parametrizations.spectral_norm(linear()),
    lambda: frozen(linear()),
    lambda: frozen(Along(nn.BatchNorm1d(CHANNELS))),
    lambda: nn.TransformerEncoderLayer(CHANNELS, 2, 8, dropout=0.1, batch_first=True),
]
AROUND = [Residual, Skipped, Checkpointed, twice, frozen]


@st.composite
def stacks(draw: st.DrawFn) -> list[nn.Module]:
    """The blocks of a network: perhaps words to vectors, then 2 to 6 blocks, then a classifier."""
    torch.manual_seed(draw(st.integers(0, 99)))
    blocks: list[nn.Module] = []
    if draw(st.booleans()):
        blocks.append(nn.Embedding(WORDS, CHANNELS))
    for _ in range(draw(st.integers(2, 6))):
        block = draw(st.sampled_from(PLAIN))()
        for around in draw(st.lists(st.sampled_from(AROUND), max_size=2)):
            block = around(block)
        blocks.append(block)
    blocks.append(nn.Linear(CHANNELS, CLASSES))
    return [block.double() for block in blocks]


def batch_for(blocks: list[nn.Module], b: int) -> tuple[Tensor, Tensor]:
    """Micro-batch ``b`` of a stack."""
    stream = torch.Generator().manual_seed(1000 + b)
    target = torch.randint(CLASSES, (BATCH,), generator=stream)
    if isinstance(blocks[0], nn.Embedding):
        return torch.randint(WORDS, (BATCH, PLACES), generator=stream), target
    return torch.randn(BATCH, PLACES, CHANNELS, dtype=torch.float64, generator=stream), target


def loss(y: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(y.mean(1), target)
