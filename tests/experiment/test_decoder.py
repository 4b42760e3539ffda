"""The decoder: it looks back only, its stages are equal, its weights follow from the seed."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from analogpipe.device.parameters import SoftBounds
from analogpipe.experiment import models
from analogpipe.pipeline.reads import reads
from analogpipe.profile.sections import Decoder
from analogpipe.schedule.partition import partition, stage_costs
from analogpipe.tile.config import TileConfig, digital

CONFIG = Decoder(kind="decoder", name="small", layers=8, width=12, heads=3)
CONTEXT, VOCABULARY = 6, 11


def network(tile: TileConfig | None = None, seed: int = 0) -> torch.nn.Sequential:
    return torch.nn.Sequential(*models.build(CONFIG, (CONTEXT,), VOCABULARY, tile, seed))


@pytest.fixture
def characters():
    return torch.randint(VOCABULARY, (2, CONTEXT), generator=torch.Generator().manual_seed(0))


def test_a_place_does_not_see_what_follows(characters):
    net = network()
    scores = net(characters)
    assert scores.shape == (2, VOCABULARY, CONTEXT)
    later = characters.clone()
    later[:, 4:] = (later[:, 4:] + 1) % VOCABULARY
    changed = net(later)
    assert torch.equal(scores[..., :4], changed[..., :4])
    assert (scores[..., 4:] != changed[..., 4:]).any()
    earlier = characters.clone()
    earlier[:, 0] = (earlier[:, 0] + 1) % VOCABULARY
    assert (net(earlier)[..., 5] != scores[..., 5]).any()


def test_places_matter(characters):
    same = torch.zeros_like(characters)
    scores = network()(same)
    assert (scores[..., 0] != scores[..., 1]).any()


def test_arrays_without_analog_effects_give_the_digital_network(characters):
    analog, plain = network(digital()), network()
    assert torch.allclose(analog(characters), plain(characters), rtol=1e-4, atol=1e-6)


def test_all_dense_maps_are_analog():
    net = network(TileConfig(device=SoftBounds()))
    assert not [part for part in net.modules() if isinstance(part, torch.nn.Linear)]
    names = [part.tile.address[1] for part in net.modules() if hasattr(part, "tile")]
    assert len(names) == len(set(names)) == 4 * CONFIG.layers + 1


def test_the_seed_decides():
    one, same, other = (network(seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["0.0.characters"], other["0.0.characters"])


@pytest.mark.parametrize("stages", [1, 2, 4, 8])
def test_stages_are_as_equal_as_the_scores_allow(stages, characters):
    """Each block reads two arrays for each character, the last one also that of the scores."""
    blocks = models.build(CONFIG, (CONTEXT,), VOCABULARY, None, 0)
    counts = reads(blocks, characters)
    assert counts == [2 * characters.numel()] * 15 + [3 * characters.numel()]
    costs = stage_costs(counts, partition(counts, stages))
    assert max(costs) - min(costs) <= characters.numel()


def test_it_learns(characters):
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = cross_entropy(net(characters), characters.roll(-1, 1))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < 0.2 < 2 < losses[0]


def test_heads_divide_the_width():
    with pytest.raises(ValueError, match="heads: found 5, allowed: a divisor of width, 12"):
        Decoder(kind="decoder", name="bad", layers=1, width=12, heads=5)
