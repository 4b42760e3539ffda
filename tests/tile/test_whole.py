"""A whole read and a whole update in one call are those of several calls, to the bit."""

import itertools

import pytest
import torch
from torch import Tensor

from analogpipe.device.parameters import ConstantStep, ExpStep, Pulsed, SoftBounds
from analogpipe.device.response import draw
from analogpipe.layer.linear import AnalogLinear
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig
from analogpipe.tile.kernels import blas, compiled, reading, updating
from analogpipe.tile.read import read
from analogpipe.tile.sections import ReadoutConfig, UpdateConfig
from analogpipe.tile.update import Updater

pytestmark = pytest.mark.skipif(not blas.FOUND, reason="torch has no sgemm for loops")

SHAPES = [(1, 1, 1), (1, 64, 64), (8, 64, 64), (3, 20, 33), (40, 33, 10), (2, 784, 256), (64, 5, 1)]
READS = [
    ReadoutConfig(**dict(zip(("inp_res", "out_res", "inp_noise", "out_noise"), some, strict=True)))
    for some in itertools.product((0.0, 1 / 126), (0.0, 1 / 510), (0.0, 0.05), (0.0, 0.06))
] + [
    ReadoutConfig(out_bound=bound, noise_management=noise, bound_management=management)
    for bound in (0.0, 0.3, 12.0)
    for noise in ("none", "abs_max")
    for management in ("none", "iterative")
]


def _drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, *shape))


def _apart(monkeypatch: pytest.MonkeyPatch, apart: bool) -> None:
    for module in (compiled, reading):
        monkeypatch.setattr(module, "FOUND", not apart)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_read_is_that_in_parts(shape: tuple[int, int, int], monkeypatch) -> None:
    samples, inputs, outputs = shape
    x, bias = _drawn(samples, inputs), _drawn(outputs, seed=1)
    x[samples // 2] *= 0
    matrices = [_drawn(inputs, outputs), _drawn(outputs, inputs).t(), _drawn(inputs, outputs + 3)]
    matrices[2] = matrices[2][:, 1 : outputs + 1]
    calls = _counted(reading.whole, "read", monkeypatch)
    for matrix, config in itertools.product(matrices, READS):
        found = []
        for apart in (False, True):
            _apart(monkeypatch, apart)
            stream, before = generator(3), len(calls)
            reads = compiled.reads(matrix, config, torch.float32)
            y, saturated = reads(x, 0.5, stream, bias)
            rows = torch.zeros(0) if saturated is None else saturated
            found.append((y, rows, stream.get_state(), read(x, matrix, config, stream, compiled)))
            assert (len(calls) > before) is not apart
        for one, other in zip(*found, strict=True):
            assert torch.equal(one, other)


def test_a_matrix_that_blas_cannot_take_is_read_in_parts(monkeypatch) -> None:
    calls = _counted(reading.whole, "read", monkeypatch)
    wide = _drawn(20, 14)
    x, config = _drawn(3, 10), ReadoutConfig()
    found = read(x, wide[::2, ::2], config, generator(0), compiled)
    assert not calls
    assert torch.equal(found, read(x, wide[::2, ::2].clone(), config, generator(0), compiled))
    assert len(calls) == 1
    assert read(x[:0], wide[::2], config, generator(0), compiled).shape == (0, 14)
    assert len(calls) == 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("device", [SoftBounds(), ConstantStep()])
@pytest.mark.parametrize(
    "config",
    [
        UpdateConfig(),
        UpdateConfig(update_management=False),
        UpdateConfig(update_bl_management=False, desired_bl=5),
    ],
)
def test_an_update_is_that_in_parts(
    shape: tuple[int, int, int], device: Pulsed, config: UpdateConfig, monkeypatch
) -> None:
    samples, inputs, outputs = shape
    calls, found = _counted(updating.whole, "update", monkeypatch), []
    for apart in (False, True):
        _apart(monkeypatch, apart)
        weight, stream = _drawn(outputs, inputs).clamp_(-0.5, 0.5), generator(1)
        response = draw(device, (outputs, inputs), generator(0))
        slots, version = torch.zeros(1, dtype=torch.int64), weight._version
        updater = Updater(weight, response, device.granularity, config, stream, slots=slots)
        for step in range(3):
            x, e = _drawn(samples, inputs, seed=step), _drawn(samples, outputs, seed=step)
            updater.apply(x, e, 0.05)
        assert weight._version > version
        found.append((weight, slots, stream.get_state()))
    assert len(calls) == 3
    assert not torch.equal(found[0][0], _drawn(outputs, inputs).clamp_(-0.5, 0.5))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("device", "config"),
    [
        (ExpStep(), UpdateConfig()),
        (ExpStep(write_noise_std=1.0), UpdateConfig()),
        (SoftBounds(), UpdateConfig(rule="mean")),
        (SoftBounds(), UpdateConfig(rule="pulse_train")),
    ],
)
def test_other_updates_take_several_calls(
    device: Pulsed, config: UpdateConfig, monkeypatch
) -> None:
    calls = _counted(updating.whole, "update", monkeypatch)
    layer = AnalogLinear(7, 5, TileConfig(device=device, update=config), seed=0, name="one")
    before = layer.weight.clone()
    layer.apply_update(_drawn(4, 7), _drawn(4, 5), 0.1)
    assert not calls
    assert not torch.equal(layer.weight, before)


def test_signals_that_do_not_fit_are_refused() -> None:
    layer = AnalogLinear(7, 5, TileConfig(), seed=0, name="one")
    tile = layer.tile
    for x in (_drawn(3, 6), _drawn(3, 7).double()):
        with pytest.raises(TypeError, match=r"allowed: 21 of torch\.float32 in main memory"):
            tile.read_forward(x)
    with pytest.raises(TypeError, match="allowed: 15"):
        tile.update(_drawn(3, 7), _drawn(3, 4), 0.1)
    with pytest.raises(TypeError, match="allowed: 5"):
        tile.read_forward(_drawn(3, 7), torch.zeros(4))
    with pytest.raises(TypeError, match="found 21 elements"):
        tile.read_forward(torch._neg_view(_drawn(3, 7)))


def _counted(module: object, name: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note each call of a function of a module."""
    calls: list[int] = []
    function = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *given: (calls.append(1), function(*given))[1])
    return calls
