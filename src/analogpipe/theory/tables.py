"""From the runs of the theory's experiments to tables, fits and the numbers that claims are judged by."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.profile.theory import Theory
from analogpipe.results import layout
from analogpipe.results.intervals import Interval, bootstrap, mean, ratio
from analogpipe.theory.bounds import Floats, cycles_to
from analogpipe.theory.floor import Floor, interaction
from analogpipe.theory.problem import Way
from analogpipe.theory.rates import Rates

Check = dict[str, Any]
clocks = np.vectorize(cycles_to, otypes=[np.float64])


def check(quantity: str, way: Way, found: Interval) -> Check:
    """A row of the checks: quantity, device, mode, stages, measured, low, high."""
    names = ("quantity", "device", "mode", "stages", "measured", "low", "high")
    return dict(zip(names, (quantity, *way, *found), strict=True))


def of_rates(rates: Rates) -> Iterator[Check]:
    """Error over bound; a pipeline's error, samples and cycles over those of no pipeline."""
    table = rates.table()
    for way in rates.ways:
        here = table[(table[list(Way._fields)] == list(way)).all(axis=1)].dropna(subset="bound")
        if len(here):
            low, middle, high = (
                float((here[name] / here["bound"]).max())
                for name in ("error_low", "error", "error_high")
            )
            yield check("error over bound, largest", way, (middle, low, high))
    for way in rates.ways:
        if way.mode != "sequential":
            yield from _pipeline(rates, way)


def _pipeline(rates: Rates, way: Way) -> Iterator[Check]:
    own, plain = rates.values(way), rates.values(Way(way.device, "sequential", 1))
    count, n = len(own), rates.mini_batch(way.mode)
    # sync trains the same weights for any number of stages
    stages = int(max(rates.sizes.stages)) if way.mode == "sync" else way.stages
    last = np.stack([own[-1], plain[-1]])
    yield check("error of the longest run over sequential", way, bootstrap(ratio, last))

    def reached(v: Floats) -> tuple[Any, Any]:
        piped, single = (
            rates.reached(way.device, part.mean(-1)) for part in (v[:count], v[count:])
        )
        return piped, single

    def more_samples(v: Floats) -> Any:
        piped, single = reached(v)
        return piped / single

    def fewer_cycles(v: Floats) -> Any:
        piped, single = reached(v)
        return clocks("sequential", stages, single) / clocks(way.mode, stages, piped, n)

    both = np.concatenate([own, plain])
    yield check("samples to target over sequential", way, bootstrap(more_samples, both))
    yield check(
        "cycles to target, sequential over it",
        Way(way.device, way.mode, stages),
        bootstrap(fewer_cycles, both),
    )


def of_floor(floor: Floor, sign: float = 1.0) -> Iterator[Check]:
    """Analog floor at the centre over the digital one, and over its prediction."""
    for mode, stages in (("sequential", 1), ("async", floor.stages)):
        way = Way("linear", mode, stages)
        analog = floor.values(floor.base, mode, floor.centre)
        exact = floor.values(floor.digital, mode, floor.centre)
        yield check("floor over digital", way, bootstrap(ratio, np.stack([analog, exact])))
        expected = floor.expected(floor.base, mode, floor.centre, sign)
        yield check("floor over its prediction", way, bootstrap(mean, analog[None] / expected))
    pair = [floor.values(floor.base, mode, floor.centre) for mode in ("async", "sequential")]
    way = Way("linear", "async", floor.stages)
    yield check("floor over sequential", way, bootstrap(ratio, np.stack(pair)))


def tables(root: Path, sizes: Theory) -> dict[str, pd.DataFrame]:
    """Return the tables layout.THEORY of the experiments that have run below ``root``."""
    both = [layout.read(root, f"theory/rates-{device}") for device in ("digital", "linear")]
    rates = Rates(pd.concat(both, ignore_index=True), sizes)
    floor = Floor(layout.read(root, "theory/floor"), sizes)
    return {
        "tables/theory_rates": rates.table(),
        "tables/theory_price": rates.price(),
        "tables/theory_targets": rates.targets(),
        "tables/theory_floor": floor.table(),
        "tables/theory_interaction": interaction(floor.at_centre()),
        "tables/theory_checks": pd.DataFrame([*of_rates(rates), *of_floor(floor)]),
        "tables/table3": pd.DataFrame([*rates.exponents(), *floor.exponents()]),
    }
