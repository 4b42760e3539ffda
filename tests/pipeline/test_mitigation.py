"""Warm-up of the learning rate and weight prediction, against hand-unrolled recurrences."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.mitigation import Prediction, warmed_up
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.schedule import staleness
from analogpipe.schedule.table import build
from tiny_network import Scale, half_square, pipeline, same, scalar_batch, weights


def test_the_rate_of_a_stage_starts_divided_by_its_delay_and_ends_whole() -> None:
    delays = staleness.delay("async", 4, [1, 2, 3, 4]).tolist()
    rates = warmed_up(lambda b: 0.6, delays, over=10)
    assert [rate(0) for rate in rates] == pytest.approx([0.15, 0.2, 0.3, 0.6])
    assert [rate(5) for rate in rates] == pytest.approx([0.3, 0.6 / 3**0.5, 0.6 / 2**0.5, 0.6])
    assert [rate(b) for rate in rates for b in (10, 99)] == [0.6] * 8


def test_a_warm_up_over_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="over 0 micro-batches, allowed is 1 or more"):
        warmed_up(lambda b: 0.1, [0], over=0)


@given(st.integers(0, 30), st.integers(1, 50), st.integers(0, 100))
def test_a_warmed_up_rate_never_exceeds_the_rate_and_never_falls(
    delay: int, over: int, b: int
) -> None:
    (rate,) = warmed_up(lambda b: 1.0, [delay], over)
    assert 1 / (1 + delay) - 1e-12 <= rate(b) <= rate(b + 1) <= 1


@pytest.mark.parametrize("decay", [0.0, 0.7])
def test_prediction_follows_the_hand_unrolled_recurrence(decay: float) -> None:
    # M = 2: the forward of b at stage 1 sees version b - 1 and predicts version b
    k, w1, w2, v = 12, 0.8, -0.5, 0.0
    shifted = w1
    for b in range(k):
        x, t = (float(u) for u in scalar_batch(b))
        y1 = shifted * x
        e2 = w2 * y1 - t
        e1 = w2 * e2
        shifted = w1 + v  # F of b + 1, before the update by b
        change = -0.1 * e1 * x
        w1, w2 = w1 + change, w2 - 0.1 * e2 * y1
        v = decay * v + (1 - decay) * change
    modules = [Scale(0.8), Scale(-0.5)]
    run = Pipeline(
        modules,
        build("async", 2, k),
        loss=half_square,
        batch=scalar_batch,
        lr=lambda b: 0.1,
        prediction=decay,
    )
    run.run()
    found = [float(module.weight.detach()) for module in modules]
    assert found == pytest.approx([w1, w2], rel=1e-12)


def test_prediction_is_exact_when_every_update_is_the_same() -> None:
    weight = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.constant_(weight.weight, 0.125)  # sums of eighths are exact
    prediction = Prediction(weight, gaps=[0, 1, 2, 3], decay=0.0)
    start = weight.weight.detach().clone()
    step = torch.tensor([[0.25, -0.5]])
    for version in range(1, 3):
        with torch.no_grad():
            weight.weight += step
        prediction.record()
        with prediction.applied(3):
            assert torch.allclose(weight.weight, start + (version + 3) * step)
        assert torch.equal(weight.weight, start + version * step)


@pytest.mark.parametrize("kinds", [{}, {"analog": True}, {"mixed": True}], ids=str)
def test_prediction_changes_only_runs_with_a_delay(kinds: dict[str, bool]) -> None:
    for mode, stages, n in (("async", 1, 1), ("sequential", 4, 1), ("sync", 4, 4)):
        plain = pipeline(mode, stages, 9, n, **kinds)
        predicted = pipeline(mode, stages, 9, n, prediction=True, **kinds)
        plain.run()
        predicted.run()
        assert same(weights(plain), weights(predicted))
    plain, predicted = (pipeline("async", 4, 9, prediction=p, **kinds) for p in (False, True))
    plain.run()
    predicted.run()
    assert not same(weights(plain), weights(predicted))


@pytest.mark.parametrize("kinds", [{}, {"analog": True}, {"mixed": True}], ids=str)
def test_a_predicting_run_restored_in_mid_flight_is_bit_identical(kinds: dict[str, bool]) -> None:
    whole = pipeline("async", 4, 9, prediction=True, **kinds)
    whole.run()
    for clock in (3, 8, 13):
        first, second = (pipeline("async", 4, 9, prediction=True, **kinds) for _ in range(2))
        first.run(until=clock)
        second.load_state_dict(first.state_dict())
        second.run()
        assert same(weights(second), weights(whole))


def test_bad_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match="decay of the prediction is 1"):
        Prediction(Scale(1.0), [0], decay=1)
    with pytest.raises(StageError, match="not for async-stash"):
        pipeline("async-stash", 2, 2, prediction=True)


def test_prediction_tracks_a_delayed_quadratic_better() -> None:
    """On a problem with steady updates the prediction brings the run closer to the one without delay."""

    def end(mode: str, prediction: float | None) -> float:
        modules = [Scale(1.0), Scale(1.0), Scale(1.0), Scale(1.0)]
        run = Pipeline(
            modules,
            build(mode, 4, 60),
            loss=half_square,
            batch=lambda b: (torch.ones(1, dtype=torch.float64), torch.full((1,), 3.0).double()),
            lr=lambda b: 0.004,
            prediction=prediction,
        )
        run.run()
        return float(modules[0].weight.detach())

    reference = end("sequential", None)
    assert abs(end("async", 0.5) - reference) < 0.5 * abs(end("async", None) - reference)
