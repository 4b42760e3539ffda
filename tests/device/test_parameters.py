import math
from pathlib import Path

import pytest
import torch

from analogpipe.device.parameters import ConstantStep, ExpStep, LinearStep, SoftBounds
from analogpipe.device.response import draw
from analogpipe.profile.profile import load_devices, load_tile
from analogpipe.seeds import generator
from analogpipe.tile.config import TileConfig, TileConfigError


def test_the_shipped_devices_load() -> None:
    tiles = load_devices(Path("config/devices.yaml"))
    assert tiles["linear-tau0.6"].device.w_max == 0.6  # type: ignore[union-attr]
    assert tiles["linear-tau0.8"].device.w_min == -0.8  # type: ignore[union-attr]


def test_a_tile_survives_a_round_trip(tmp_path) -> None:
    tile = load_devices(Path("config/devices.yaml"))["linear-tau0.6"]
    (tmp_path / "tile.yaml").write_text(tile.dump())
    assert load_tile(tmp_path / "tile.yaml") == tile


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"device": {"kind": "soft_bound"}}, "soft_bounds"),
        ({"device": {"kind": "soft_bounds", "dw_min": 0}}, "greater than 0"),
        ({"device": {"kind": "soft_bounds", "w_min": 0.1}}, "w_min"),
        # one step would be negative; AIHWKit takes its size, so that 1.5 acts as 0.5
        ({"device": {"kind": "soft_bounds", "up_down": 1.5}}, "up_down.*less than or equal to 1"),
        ({"device": {"kind": "constant_step", "up_down": -1.1}}, "up_down"),
        ({"device": {"kind": "pow_step", "pow_up_down": 1.5}}, "pow_up_down"),
        ({"device": {"kind": "pow_step", "pow_gamma": 2000}}, "a pulse must move the weight"),
        ({"device": {"kind": "constant_step", "w_min": 1.0}}, "w_min <= 0 <= w_max"),
        ({"device": {"kind": "one_sided", "element": {"kind": "ideal"}}}, "exp_step"),
        (
            {"device": {"kind": "one_sided", "element": {"kind": "exp_step", "w_max": 0}}},
            "w_max > 0",
        ),
        (
            {
                "device": {
                    "kind": "one_sided",
                    "element": {"kind": "exp_step", "write_noise_std": 1},
                }
            },
            "write_noise_std = 0",
        ),
        ({"preset": "PCM", "transfer": {}}, "transfer between one_sided"),
        ({"preset": "PCM", "refresh": {"every": 0}}, "refresh.every"),
        ({"refresh": {}}, "needs a one_sided device, found soft_bounds"),
        ({"update": {"desired_bl": 0}}, "desired_bl"),
        ({"readout": {}}, "readout"),
        ([], "tile"),
    ],
)
def test_a_wrong_tile_is_named_in_one_line(data: object, message: str) -> None:
    with pytest.raises(TileConfigError, match=message) as error:
        TileConfig.parse(data)
    assert "\n" not in str(error.value)


def test_elements_spread_as_stated() -> None:
    device = SoftBounds(
        dw_min=0.01, dw_min_dtod=0.1, w_max_dtod=0.2, up_down=-0.2, up_down_dtod=0.05
    )
    elements = draw(device, (400, 400), generator(0, "draw"))
    up, down = elements.base
    assert float(up.mean()) == pytest.approx(0.008, rel=2e-3)
    assert float(down.mean()) == pytest.approx(0.01, rel=2e-3)
    assert float(up.std()) == pytest.approx(0.01 * math.hypot(0.1, 0.05), rel=1e-2)
    assert float((up - down).std()) == pytest.approx(0.01 * 2 * 0.05, rel=1e-2)
    assert float(elements.high.std()) == pytest.approx(0.6 * 0.2, rel=1e-2)


def test_the_symmetric_point_is_where_pulses_cancel() -> None:
    elements = draw(SoftBounds(up_down=0.1), (5, 7), generator(0, "point"))
    point = elements.symmetric_point()
    up, down = elements.steps(point, torch.empty(2, 5, 7))
    torch.testing.assert_close(up, down)


@pytest.mark.parametrize(
    "device", [ConstantStep(dw_min=0.01), LinearStep(gamma_up=0.5, gamma_down=0.2), SoftBounds()]
)
def test_pulses_stay_in_the_bounds(device: ConstantStep | LinearStep | SoftBounds) -> None:
    elements = draw(device, (8, 8), generator(0, "bounds"))
    weight = torch.zeros(8, 8).clamp_(elements.low, elements.high)
    stream = generator(0, "pulses")
    for _ in range(1500):
        elements.pulse(weight, torch.tensor(True), stream)
    assert bool((weight <= elements.high).all())
    assert float((weight - elements.high).abs().median()) < 0.1


def test_one_pulse_has_the_stated_noise() -> None:
    device = SoftBounds(dw_min=0.01, dw_min_dtod=0, w_max_dtod=0, w_min_dtod=0, up_down_dtod=0)
    elements = draw(device, (300, 300), generator(0, "one"))
    weight = torch.full((300, 300), 0.3)
    elements.pulse(weight, torch.tensor(False), generator(0, "one-pulse"))
    change = weight - 0.3
    assert float(change.mean()) == pytest.approx(-0.015, rel=5e-3)
    assert float(change.std()) == pytest.approx(0.015 * 0.3, rel=2e-2)


def test_the_noise_of_a_pulse_can_have_parts_beside_its_size() -> None:
    device = ExpStep(
        dw_min=0.01, A_up=0, A_down=0, dw_min_std=0.5, dw_min_std_add=0.02, dw_min_std_slope=0.1,
        dw_min_dtod=0, w_max_dtod=0, w_min_dtod=0, up_down_dtod=0,
    )  # fmt: skip
    elements = draw(device, (300, 300), generator(0, "parts"))
    weight = torch.full((300, 300), -0.2)
    elements.pulse(weight, torch.tensor(True), generator(0, "one-pulse"))
    change = weight + 0.2
    assert float(change.mean()) == pytest.approx(0.01, rel=2e-2)
    assert float(change.std()) == pytest.approx(0.5 * (0.01 + 0.02 + 0.1 * 0.2), rel=1e-2)


def test_the_granularity_of_an_exponential_device_is_its_down_step_at_0() -> None:
    device = ExpStep(dw_min_dtod=0, w_max_dtod=0, w_min_dtod=0, up_down_dtod=0, up_down=0.2)
    elements = draw(device, (1, 1), generator(0, "granularity"))
    steps = elements.steps(torch.zeros(1, 1), torch.empty(2, 1, 1))
    assert device.granularity == pytest.approx(float(steps[1]))
