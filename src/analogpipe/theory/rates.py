"""Tables of the runs with the best step: error, price of staleness, samples and cycles to a target."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.profile.theory import Theory
from analogpipe.results.intervals import bootstrap, mean, means, named
from analogpipe.theory.bounds import DIGITAL, Floats, Linear, bound, cycles_to
from analogpipe.theory.expected import Expected, asymptotic
from analogpipe.theory.exponents import exponent
from analogpipe.theory.problem import PULSE_NOISE, Way, delays, rates_problem


class Rates:
    """The runs with the best step for their length."""

    def __init__(self, runs: pd.DataFrame, sizes: Theory) -> None:
        self.sizes = sizes
        self.constants = rates_problem(sizes).constants()
        linear = Linear(sizes.tau, sizes.dw_min, PULSE_NOISE)
        self.devices = {"digital": DIGITAL, "linear": linear}
        floors = asymptotic(self.constants, linear)
        self.seed_floors = {"digital": np.zeros_like(floors), "linear": floors}
        self.floors = {device: float(each.mean()) for device, each in self.seed_floors.items()}
        self.samples = np.array(sorted(sizes.samples))
        self._runs: dict[Way, pd.DataFrame] = {}
        for device, mode, stages in runs[[*Way._fields]].drop_duplicates().to_numpy().tolist():
            here = runs[[*Way._fields]].eq([device, mode, stages]).all(axis=1)
            self._runs[Way(device, mode, stages)] = runs[here]
        self._expected: dict[Way, tuple[Floats, Floats]] = {}

    @property
    def ways(self) -> list[Way]:
        """All ways that were run."""
        return list(self._runs)

    def values(self, way: Way, column: str = "error") -> Floats:
        """``column`` of the runs as (samples, seeds)."""
        table = self._runs[way].pivot(index="samples", columns="seed", values=column)
        found: Floats = table.to_numpy()
        return found

    def mini_batch(self, mode: str) -> int:
        """Micro-batches per update."""
        return self.sizes.mini_batch if mode == "sync" else 1

    def steps(self, way: Way) -> Floats:
        """Step of an update for each run length."""
        steps: Floats = self._runs[way].groupby("samples")["step"].first().to_numpy()
        return steps

    def expected(self, way: Way) -> tuple[Floats, Floats]:
        """Predicted error and what remains of it after the transient, for each run length."""
        if way not in self._expected:
            n = self.mini_batch(way.mode)
            runs = [
                Expected(
                    self.constants,
                    self.devices[way.device],
                    step=step,
                    delays=delays(way.mode, way.stages),
                    mini_batch=n,
                )
                for step in self.steps(way)
            ]
            errors = [run.error(k // n) for run, k in zip(runs, self.samples, strict=True)]
            self._expected[way] = np.array(errors), np.array([run.floor() for run in runs])
        return self._expected[way]

    def table(self) -> pd.DataFrame:
        """A row per way and run length: error and settled error with intervals, predicted, bound."""
        rows = []
        for way in self.ways:
            error, settled = self.values(way), self.values(way, "settled")
            expected, remains = self.expected(way)
            for i, samples in enumerate(self.samples):
                rows.append(
                    {
                        **way._asdict(),
                        "samples": samples,
                        "step": self.steps(way)[i],
                        **named("error", bootstrap(mean, error[[i]]), expected[i]),
                        **named("settled", bootstrap(mean, settled[[i]]), remains[i]),
                        "bound": self.bound(way, i),
                        "floor": self.floors[way.device],
                    }
                )
        return pd.DataFrame(rows)

    def bound(self, way: Way, i: int) -> float:
        """Upper bound of the error of a run; nan where the step is too large for it."""
        problem, linear = self.constants, self.devices[way.device]
        # The pull only shrinks the weights, which stay about within the minimiser's size.
        saturation = self.sizes.size / linear.tau
        pulse = linear.dw_min * (1 + linear.dw_min_std**2) * (1 + saturation**2)
        try:
            return bound(
                start=problem.start,
                smoothness=problem.smoothness,
                variance=problem.variance,
                step=float(self.steps(way)[i]),
                samples=int(self.samples[i]),
                stages=way.stages,
                mini_batch=self.mini_batch(way.mode),
                saturation=saturation,
                sample_square=problem.sample_square,
                pulses=pulse * problem.activity,
            )
        except ValueError:
            return float("nan")

    def prices(self) -> Iterator[tuple[Way, Floats, Floats]]:
        """Price of staleness, settled error of async less sequential: (steps, seeds), predicted."""
        for way in self.ways:
            if way.mode == "async":
                plain = Way(way.device, "sequential", 1)
                price = self.values(way, "settled") - self.values(plain, "settled")
                yield way, price, self.expected(way)[1] - self.expected(plain)[1]

    def price(self) -> pd.DataFrame:
        """The price of staleness, a row per device, stages and step."""
        rows = [
            {
                **way._asdict(),
                "step": step,
                **named("price", bootstrap(mean, price[[i]]), expected[i]),
            }
            for way, price, expected in self.prices()
            for i, step in enumerate(self.steps(way))
        ]
        return pd.DataFrame(rows)

    def reached(self, device: str, errors: Floats) -> Any:
        """Samples at which mean errors (samples, ...) fall to the target of ``device``.

        Above its floor the error is taken as the power law through the two run lengths between
        which the target is reached; that of the outermost two beyond them.
        """
        floor = self.floors[device]
        lengths, curves = np.log(self.samples), np.log(errors - floor)
        goal = np.log(self.target(device) - floor)
        piece = (curves[1:-1] > goal).sum(0)[None]
        low, high = (np.take_along_axis(curves, piece + i, 0)[0] for i in (0, 1))
        start, end = lengths[piece[0]], lengths[piece[0] + 1]
        return np.exp(start + (end - start) * (low - goal) / (low - high))

    def target(self, device: str) -> float:
        """Error predicted for the run of no pipeline whose length is the middle one (on a log scale)."""
        lengths, floor = np.log(self.samples), self.floors[device]
        expected = np.log(self.expected(Way(device, "sequential", 1))[0] - floor)
        return floor + float(np.exp(np.interp(lengths.mean(), lengths, expected)))

    def targets(self) -> pd.DataFrame:
        """Samples and clock cycles to a target error, a row per device, mode and stages.

        The weights of sequential and sync runs are those of any number of stages.
        """
        rows = []
        for way in self.ways:
            device, mode, trained = way

            def samples(v: Floats, device: str = device) -> Any:
                return self.reached(device, v.mean(-1))

            found = bootstrap(samples, self.values(way))
            expected = float(self.reached(device, self.expected(way)[0]))
            for stages in [trained] if mode == "async" else [1, *self.sizes.stages]:
                low, middle, high, wanted = (
                    float(cycles_to(mode, stages, k, self.mini_batch(mode)))
                    for k in (found[1], found[0], found[2], expected)
                )
                rows.append(
                    {
                        **way._replace(stages=stages)._asdict(),
                        "target": self.target(device),
                        **named("samples", found, expected),
                        **named("cycles", (middle, low, high), wanted),
                    }
                )
        return pd.DataFrame(rows)

    def exponents(self) -> Iterator[dict[str, Any]]:
        """Exponents of the error in samples, and of the price of staleness in step and stages."""
        for way in self.ways:
            # Each seed has a floor of its own, known from its minimiser: it is no noise of the fit.
            above = self.values(way) - self.seed_floors[way.device]
            expected = self.expected(way)[0] - self.floors[way.device]
            yield exponent("error in samples", way, -0.5, self.samples, means, above, expected)
        scaled = {}
        for way, price, expected in self.prices():
            steps = self.steps(way)
            yield exponent("price of staleness in step", way, 2.0, steps, means, price, expected)
            if way.device == "digital":
                square = steps[:, None] ** 2
                scaled[way] = (price / square).mean(0), (expected / steps**2).mean()
        if len(scaled) > 1:
            behind = np.array([way.stages - 1.0 for way in scaled])
            prices, wanted = (np.stack(column) for column in zip(*scaled.values(), strict=True))
            most = max(scaled, key=lambda way: way.stages)
            yield exponent("price of staleness in M-1", most, 1.0, behind, means, prices, wanted)
