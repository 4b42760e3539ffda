"""The symmetric twin: what it keeps of a device, and what it takes away."""

import pytest
import torch

from analogpipe.device.parameters import (
    ConstantStep,
    Device,
    ExpStep,
    Ideal,
    LinearStep,
    OneSided,
    PowStep,
    Pulsed,
    SoftBounds,
    SoftBoundsReference,
)
from analogpipe.device.presets import PRESETS
from analogpipe.device.response import Response, draw
from analogpipe.device.symmetric import SymmetricError, symmetric
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, digital, preset
from analogpipe.tile.symmetric import symmetric_tile

DEVICES: dict[str, Pulsed] = {
    "constant": ConstantStep(up_down=0.2),
    "linear": LinearStep(gamma_up=0.5, gamma_down=0.2, w_max=0.8, mult_noise=False),
    "soft bounds": SoftBounds(up_down=-0.1, write_noise_std=2.0),
    "reference": SoftBoundsReference(reference_mean=0.2, up_down=0.1),
    "exponential": ExpStep(dw_min_std_add=0.0005, dw_min_std_slope=0.1),
    "power": PowStep(w_max=0.9, pow_up_down=0.2),
    **{name: device for name, device in PRESETS.items() if isinstance(device, Pulsed)},
}
SHAPE = (300, 300)


def elements(device: Device) -> Response:
    assert isinstance(device, Pulsed)
    return draw(device, SHAPE, generator(0, "array", "device"))


def without_spread(device: Pulsed) -> Pulsed:
    names = [name for name in type(device).model_fields if name.endswith("_dtod")]
    return device.model_copy(update=dict.fromkeys(names, 0.0))


def steps(response: Response, at: float | torch.Tensor = 0.0) -> torch.Tensor:
    """Mean step of every element, up and down, at a weight."""
    weight = torch.zeros_like(response.low) + at
    return response.steps(weight, torch.empty_like(response.base)).clone()


@pytest.mark.parametrize("name", DEVICES)
def test_up_and_down_cancel_at_any_weight(name: str) -> None:
    twin = elements(symmetric(DEVICES[name]))
    at_zero = steps(twin)
    for part in (-0.9, -0.3, 0.0, 0.5, 0.9):
        up, down = steps(twin, part * (twin.high if part > 0 else -twin.low))
        assert torch.equal(up, down)
        assert torch.equal(up, at_zero[0])


@pytest.mark.parametrize("name", DEVICES)
def test_step_and_range_of_the_mean_element_are_the_devices(name: str) -> None:
    device = DEVICES[name]
    still = without_spread(device)
    own, twin = elements(still), elements(symmetric(still))  # type: ignore[arg-type]
    torch.testing.assert_close(steps(twin)[0, 0, 0], steps(own)[:, 0, 0].mean())
    torch.testing.assert_close((twin.low, twin.high), (own.low, own.high))
    assert symmetric(device).write_noise == pytest.approx(device.write_noise)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", DEVICES)
def test_pulses_at_zero_are_as_noisy_as_the_devices(name: str) -> None:
    device = without_spread(DEVICES[name])
    found = []
    for one in (device, symmetric(device)):  # type: ignore[arg-type]
        # far from the bounds, which would cut the noise
        response = elements(one.model_copy(update={"w_max": 1e3, "w_min": -1e3}))
        if name in ("reference", "power"):  # whose steps at 0 depend on the range
            response = elements(one)
        moved = []
        for up in (True, False):
            weight = torch.zeros(SHAPE)
            response.pulse(weight, torch.tensor(up), generator(0, "pulse", str(up)))
            moved.append(weight.var())
        found.append(float(torch.stack(moved).mean()))
    assert found[1] == pytest.approx(found[0], rel=0.02)


@pytest.mark.parametrize(
    "name", ["constant", "linear", "soft bounds", "exponential", "EcRam", "ReRamES"]
)
def test_the_spread_of_steps_is_the_devices(name: str) -> None:
    own = steps(elements(DEVICES[name])).mean(0)
    twin = steps(elements(symmetric(DEVICES[name])))[0]
    assert float(twin.std()) == pytest.approx(float(own.std()), rel=0.01)
    assert float(twin.mean()) == pytest.approx(float(own.mean()), rel=0.01)


def test_the_twin_of_a_linear_device_has_its_elements() -> None:
    device = SoftBounds(dw_min_dtod=0.2)  # none so far off that its step would turn its sign
    own, twin = elements(device), elements(symmetric(device))
    torch.testing.assert_close(steps(twin)[0], steps(own).mean(0), rtol=0, atol=1e-6)
    torch.testing.assert_close((twin.low, twin.high), (own.low, own.high))


def test_a_constant_device_without_preference_is_its_own_twin() -> None:
    device = ConstantStep(up_down_dtod=0.0)
    assert symmetric(device) == device
    assert symmetric(Ideal()) == Ideal()
    assert symmetric(symmetric(PRESETS["ReRamES"])) == symmetric(PRESETS["ReRamES"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        (OneSided(), "one_sided pair"),
        (SoftBoundsReference(reference_mean=0.7), "out of its range, -1.3 to -0.1"),
        (ExpStep(A_up=100.0, A_down=1000.0), "no pulse moves"),
        (ExpStep(w_min=0.0, write_noise_std=1.0), "both sides"),
    ],
)
def test_what_has_no_twin_is_refused(device: Device, reason: str) -> None:
    with pytest.raises(SymmetricError, match=reason):
        symmetric(device)


def test_a_tile_keeps_all_but_its_device() -> None:
    tile = preset("EcRam", mixed_precision={}, mapping={"weight_scaling_omega": 0.6})
    twin = symmetric_tile(tile)
    assert twin == tile.model_copy(update={"device": symmetric(tile.device)})
    assert twin != tile
    assert symmetric_tile(digital()) == digital()
    assert TileConfig.parse(twin.model_dump(mode="json")) == twin


def test_the_fast_array_of_tiki_taka_keeps_its_pull() -> None:
    tile = TileConfig(device=SoftBounds(), transfer={"kind": "ttv2"})  # type: ignore[arg-type]
    twin = symmetric_tile(tile)
    assert isinstance(twin.device, ConstantStep)
    assert twin.transfer is not None
    assert twin.transfer.device == SoftBounds()
