"""The two forms of the work on elements against each other, and loops against plain Python."""

import copy
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from analogpipe.device.parameters import ConstantStep, Pulsed, SoftBounds, SoftBoundsReference
from analogpipe.device.response import draw
from analogpipe.seeds import generator
from analogpipe.tile.kernels import compiled, loops, plain
from analogpipe.tile.kernels.backend import Kernels, kernels_of
from analogpipe.tile.read import read
from analogpipe.tile.sections import ReadoutConfig, UpdateConfig
from analogpipe.tile.signals import Signals
from analogpipe.tile.update import Updater

MANAGED, BARE = UpdateConfig(), UpdateConfig(update_management=False, update_bl_management=False)
QUIET = ReadoutConfig(out_noise=0.0)
BOTH: tuple[Kernels, ...] = (compiled, plain)


def _signals(size: float = 1.0, samples: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    stream = generator(3)
    x = torch.randn(samples, 37, generator=stream)
    e = torch.randn(samples, 21, generator=stream) * size
    x[1], e[2] = 0.0, 0.0  # a silent input, no error
    return x, e


@pytest.mark.parametrize("config", [MANAGED, UpdateConfig(update_bl_management=False), BARE])
@pytest.mark.parametrize("size", [0.01, 0.3, 10.0])
def test_signals_are_those_of_torch(config: UpdateConfig, size: float) -> None:
    x, e = _signals(size)
    found = []
    for kernels in BOTH:
        slots = torch.ones(1, dtype=torch.int64)
        out = Signals.space(5, 37, 21, x, slots)
        clipped = kernels.condition(x, e, 0.1, 0.001, config, out)
        factors = kernels.chances(out)
        found.append([t.clone() for t in (clipped, out.e, out.sizes, out.lengths, *factors)])
        assert slots.item() == 1 + out.lengths.sum()
    for ours, expected in zip(*found, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize(
    "device",
    [
        SoftBounds(dw_min=0.001),
        SoftBoundsReference(dw_min=0.002, subtract_symmetry_point=True, mult_noise=True),
        ConstantStep(dw_min=0.01, dw_min_std=0.5),
    ],
)
@pytest.mark.parametrize("size", [0.01, 10.0])
def test_an_update_is_that_of_torch(device: Pulsed, size: float) -> None:
    shape = (21, 37)
    response = draw(device, shape, generator(0))
    weight = torch.rand(shape, generator=generator(1)) - 0.5
    found = []
    for one_pass in (True, False):
        own, stream = weight.clone(), generator(2)
        updater = Updater(own, response, device.granularity, MANAGED, stream, kernels=compiled)
        assert all(isinstance(block, compiled.LinearBlock) for block in updater._blocks)
        if not one_pass:
            updater._blocks = [
                plain.Block(block.rows, block.weight, block.response, fill=compiled.fill)
                for block in updater._blocks
            ]
        for _ in range(3):
            updater.apply(*_signals(size), 0.1)
        found.append(own)
    assert (found[0] - weight).abs().max() > 1e-4
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


def test_a_large_array_is_that_of_torch_over_all_its_blocks(monkeypatch) -> None:
    monkeypatch.setattr("analogpipe.tile.update.BLOCK", 100)
    test_an_update_is_that_of_torch(SoftBounds(), 0.3)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"inp_res": 0.0},
        {"out_res": 0.0},
        {"out_bound": 0.0},
        {"out_bound": 0.5},
        {"out_bound": 0.5, "bound_management": "none"},
        {"inp_bound": 0.5},
        {"noise_management": "none"},
    ],
)
def test_a_read_is_that_of_torch(change: dict[str, object]) -> None:
    x, _ = _signals(samples=9)
    matrix = torch.rand(37, 21, generator=generator(4)) - 0.5
    config = QUIET.model_copy(update=change)
    found = []
    for kernels in BOTH:
        found.append(read(x, matrix, config, generator(0), kernels))
    step = config.levels.out_step
    # a product that lies between two output levels may be rounded to either
    apart = (found[0] - found[1]).abs() / (x.abs().amax(1, keepdim=True) + 1e-9)
    assert float(apart.max()) <= step * 1.001 + 1e-5
    assert float((apart > 1e-5).float().mean()) < 0.02


@pytest.mark.parametrize("kernels", BOTH)
def test_noise_of_a_read_has_its_size(kernels: Kernels) -> None:
    config = ReadoutConfig(out_noise=0.5, inp_noise=0.2, inp_res=0.0, out_res=0.0)
    x = torch.full((400, 4), 2.0)
    y = read(x, torch.full((4, 100), 0.3), config, generator(0), kernels)
    # scale 2: noise of four inputs, each times 0.3, is common to all outputs of a row
    assert float(y.mean()) == pytest.approx(2.4, abs=5 * 0.24 / 20)
    assert float(y.var(1).mean()) == pytest.approx(1.0, rel=0.03)
    assert float(y.mean(1).var()) == pytest.approx((2 * 0.2 * 0.3) ** 2 * 4 + 0.01, rel=0.25)


def test_input_that_is_not_contiguous_is_read_and_applied_alike() -> None:
    x, e = _signals()
    wide = x.t().contiguous().t()
    assert not wide.is_contiguous()
    matrix = torch.rand(37, 21) - 0.5
    assert torch.equal(
        read(wide, matrix, ReadoutConfig(), generator(0), compiled),
        read(x, matrix, ReadoutConfig(), generator(0), compiled),
    )
    device = SoftBounds()
    weights = [torch.zeros(21, 37) for _ in range(2)]
    for own, inputs in zip(weights, (x, wide), strict=True):
        response = draw(device, (21, 37), generator(0))
        Updater(own, response, device.granularity, MANAGED, generator(1)).apply(inputs, e, 0.1)
    assert torch.equal(*weights)


def _arguments() -> dict[str, tuple[object, ...]]:
    stream = np.random.default_rng(0)

    def some(*shape: int) -> loops.Array:
        return stream.random(shape, dtype=np.float32) - np.float32(0.5)

    x, e = some(3, 7), some(3, 5) * np.float32(20)
    signed, lengths = some(3, 12), np.ceil(some(3) * 9 + 5)
    array = (5, 7)
    words = np.array([2**63 + 5, 0, 0, 0], np.uint64)
    elements = (
        some(*array),
        abs(some(2, *array)),
        some(2, *array),
        some(*array) - 1,
        some(*array) + 1,
    )
    factors = (abs(some(5)), abs(some(7)))
    return {
        "condition": (
            *(x, e, signed, abs(signed), lengths, some(2, 12), np.ones(1, np.int64)),
            *(-0.9, 31, True, True),
        ),
        "move": (abs(some(*array)), some(*array), *factors, words, *elements, 1.09, 1e-5),
        "quantise": (x, some(3, 7), some(3), 1 / 63, 0.4, True, 2.0),
        "convert": (
            *(e, abs(some(3)), np.zeros(3, bool), words[:3]),
            *(0.5, 0.1, 0.05, 60.0),
        ),
        "add_normal": (some(15), 0.3, words[:2], words[0], 3),
        "fill": (words[1:], words[0], 5),
    }


@pytest.mark.parametrize("name", sorted(_arguments()))
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_a_compiled_loop_does_what_it_says(name: str) -> None:
    arguments, expected = _arguments()[name], copy.deepcopy(_arguments()[name])
    loop = getattr(loops, name)
    assert loop(*arguments) == loop.py_func(*expected)
    for ours, slow in zip(arguments, expected, strict=True):
        if isinstance(ours, np.ndarray):
            np.testing.assert_allclose(ours, slow, rtol=1e-4, atol=1e-6)


def test_bits_are_those_of_splitmix64() -> None:
    # the first numbers of Java's SplittableRandom from seed 1234567, as published for SplitMix64
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    words = np.zeros(3, np.uint64)
    loops.fill(words, np.uint64(1234567), 1)
    assert words.tolist() == published
    loops.fill(words, np.uint64(1234567), 2)
    assert words[:2].tolist() == published[1:]


def test_not_a_number_stays_one() -> None:
    x, e = _signals()
    matrix = torch.rand(37, 21) - 0.5
    for place in (0, 17, 36):
        spoiled = x.clone()
        spoiled[3, place] = torch.nan
        found = read(spoiled, matrix, ReadoutConfig(), generator(0), compiled).isnan()
        assert found[3].all()
        assert not found[:3].any()
        weight, device = torch.zeros(21, 37), SoftBounds()
        updater = Updater(
            weight, draw(device, (21, 37), generator(0)), device.granularity, MANAGED, generator(1)
        )
        updater.apply(spoiled, e, 0.1)
        assert weight[:, place].isnan().any()


@pytest.mark.parametrize("error", [RuntimeError("no locator"), OSError(28, "full"), EOFError()])
def test_without_a_cache_that_can_be_used_loops_are_compiled(error: Exception, monkeypatch) -> None:
    def no_cache(signature: str, cache: bool = False, **options: object):
        if cache:
            raise error
        return lambda function: function

    monkeypatch.setattr(loops, "njit", no_cache)

    def loop() -> None:
        pass

    assert loops.compiled("void()")(loop) is loop


def test_a_damaged_cache_is_passed_over(tmp_path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [
        sys.executable,
        "-c",
        "import numpy as np; from analogpipe.tile.kernels import loops;"
        "words = np.ones(2, np.uint64);"
        "loops.fill(words, words[0], 0); print(words[1])",
    ]

    def run() -> str:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    first = run()
    kept = [*tmp_path.rglob("*.nbi"), *tmp_path.rglob("*.nbc")]
    assert len(kept) == 12
    for file in kept:
        file.write_bytes(file.read_bytes()[:20])
    assert run() == first


def test_the_form_is_chosen_by_device_and_precision() -> None:
    assert kernels_of(torch.empty(2, 3)) is compiled
    assert kernels_of(torch.empty(2, 3, dtype=torch.float64)) is plain
    assert kernels_of(torch.empty(2, 3, device="meta")) is plain


def test_normal_numbers_on_other_devices_are_those_of_torch() -> None:
    shape = torch.Size((3, 4))
    found = plain.normal(shape, torch.empty(0), generator(0))
    assert torch.equal(found, torch.empty(shape).normal_(generator=generator(0)))


@pytest.mark.parametrize("shape", [(2, 1, 3, 9, 11), (3, 2, 5, 1, 1), (2, 1, 70, 4, 4)])
@pytest.mark.parametrize("bound", [0.0, 0.5, 12.0])
def test_maps_go_through_converters_as_in_torch(shape: tuple[int, ...], bound: float) -> None:
    """To the bit, without noise; with it, given the same numbers."""
    maps = torch.randn(shape, generator=generator(1))
    local = maps.abs().amax(2, keepdim=True)
    assert torch.equal(compiled.largest(maps), plain.largest(maps))
    for unit in (local / 50, maps.abs().amax((1, 2, 3, 4), keepdim=True) / 63):
        for step, back in ((0.0, False), (0.1, False), (0.1, True)):
            ours = compiled.levels(maps, unit, step, bound, back=back).clone()
            assert torch.equal(ours, plain.levels(maps, unit, step, bound, back=back))
    config = ReadoutConfig(out_noise=0.0, out_bound=bound)
    found = []
    for kernels in BOTH:
        own = maps.clone()
        again = kernels.convert(own, 400 / local, local * 0.05, config, generator(2))
        found.append((own, torch.zeros(1) if again is None else again))
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert bool(found[0][1].any()) == (bound > 0)
    noise = compiled.normal(maps.shape, maps, generator(3)).clone()
    noisy = maps.clone()
    compiled.add_scaled_normal(noisy, local, generator(3))
    torch.testing.assert_close(noisy, maps.addcmul(noise, local), rtol=0, atol=1e-6)
    one = torch.ones_like(local)
    levels, plain_levels = maps * 1000, maps * 1000
    quiet = ReadoutConfig(out_noise=0.06, out_bound=0.0, out_res=0.0)
    compiled.convert(levels, one, one, quiet, generator(4))
    compiled.add_normal(plain_levels, 0.06, generator(4))
    torch.testing.assert_close(levels, plain_levels)
