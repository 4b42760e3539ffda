"""`pulsed` against `pulse_train`: the same means and spreads over many equal elements."""

import pytest
import torch

from analogpipe.device.parameters import (
    ConstantStep,
    ExpStep,
    LinearStep,
    PowStep,
    Pulsed,
    SoftBounds,
)
from analogpipe.device.response import draw
from analogpipe.seeds import generator
from analogpipe.tile.sections import UpdateConfig
from analogpipe.tile.update import Updater

PLAIN = {"dw_min_dtod": 0, "w_max_dtod": 0, "w_min_dtod": 0, "up_down_dtod": 0}
DEVICES = [
    ConstantStep(dw_min=0.002, **PLAIN),
    LinearStep(
        dw_min=0.002, gamma_up=0.5, gamma_down=0.3, gamma_up_dtod=0, gamma_down_dtod=0, **PLAIN
    ),
    SoftBounds(dw_min=0.002, **PLAIN),
    SoftBounds(dw_min=0.002, mult_noise=False, **PLAIN),
    ExpStep(dw_min=0.004, **PLAIN),
    PowStep(dw_min=0.004, pow_gamma=2, pow_gamma_dtod=0, **PLAIN),
]
REPEATS = 4000


@pytest.mark.parametrize("device", DEVICES, ids=lambda d: f"{d.kind}-{d.dw_min}")
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_means_and_spreads_agree(
    device: Pulsed, start: float, in_both_formats: torch.dtype
) -> None:
    # The first column fires (all but) always, as k is just below BL, so rows are independent.
    g = device.granularity
    lr = 0.1
    e_values = torch.tensor([[6.0], [-2.0], [5.0], [9.0]]) * 0.9999 * g / lr
    x = torch.tensor([[1.0, 0.5]]).expand(4, -1)
    # one more row has the largest signal, so the others fire with probability 1/2
    e = e_values * 0.5
    elements_rows = torch.cat([e.expand(-1, REPEATS), e_values], 1)
    results = {}
    for rule in ("pulsed", "pulse_train"):
        elements = draw(device, (REPEATS + 1, 2), generator(0, "elements"))
        weight = torch.full((REPEATS + 1, 2), start)
        config = UpdateConfig(rule=rule)  # type: ignore[arg-type]
        stream = generator(0, rule)
        updater = Updater(weight, elements, g, config, stream, dtype=in_both_formats)
        updater.apply(x, elements_rows, lr)
        results[rule] = (weight[:REPEATS, 0] - start).double()
    ours, trains = results["pulsed"], results["pulse_train"]
    error = float(trains.std()) * (2 / REPEATS) ** 0.5
    # significance: 4.5 standard errors for each of 48 comparisons, 4e-4 in all; the closed form's
    # own error in the mean is below 2 % of the change
    assert float(ours.mean()) == pytest.approx(
        float(trains.mean()), abs=4.5 * error + 0.02 * abs(float(trains.mean()))
    )
    assert float(ours.std()) == pytest.approx(float(trains.std()), rel=4.5 / REPEATS**0.5 + 0.02)


def test_saturated_trains_agree() -> None:
    device = ConstantStep(dw_min=0.001, dw_min_std=0.3, **PLAIN)
    x = torch.tensor([[1.0, 0.5]])
    e = torch.cat([torch.full((1, REPEATS), 0.2), torch.full((1, 1), 0.8)], 1)  # k = 80
    changes = {}
    for rule in ("pulsed", "pulse_train"):
        elements = draw(device, (REPEATS + 1, 2), generator(0, "elements"))
        weight = torch.zeros(REPEATS + 1, 2)
        config = UpdateConfig(rule=rule)  # type: ignore[arg-type]
        Updater(weight, elements, 0.001, config, generator(0, rule)).apply(x, e, 0.1)
        changes[rule] = weight[:REPEATS, 0]
    # p_e = 0.2 / 0.8 * 80 / 31 = 0.645, p_x = 1
    assert float(changes["pulse_train"].mean()) == pytest.approx(-0.020, rel=0.02)
    assert float(changes["pulsed"].mean()) == pytest.approx(-0.020, rel=0.02)
    ratio = float(changes["pulsed"].std() / changes["pulse_train"].std())
    assert ratio == pytest.approx(1, abs=0.07)


def test_without_managements_the_trains_clip_alike() -> None:
    device = ConstantStep(dw_min=0.001, dw_min_std=0, **PLAIN)
    means = {}
    for rule in ("pulsed", "pulse_train"):
        elements = draw(device, (REPEATS, 1), generator(0, "elements"))
        weight = torch.zeros(REPEATS, 1)
        config = UpdateConfig(
            rule=rule,  # type: ignore[arg-type]
            desired_bl=10,
            update_management=False,
            update_bl_management=False,
        )
        updater = Updater(weight, elements, 0.001, config, generator(0, rule))
        updater.apply(torch.tensor([[2.0]]), torch.full((1, REPEATS), 0.3), 0.01)
        means[rule] = float(weight.mean())
    # both probabilities: 2 clipped to 1, and 0.3
    assert means["pulse_train"] == pytest.approx(-0.003, rel=0.03)
    assert means["pulsed"] == pytest.approx(-0.003, rel=0.03)
