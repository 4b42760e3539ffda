"""From the runs of the theory's experiments to tables, fits and the numbers that claims are judged by."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from analogpipe.files import write_text
from analogpipe.jobs.command import run as run_command
from analogpipe.profile.profile import load_profile
from analogpipe.results.intervals import Interval, interval, mean, ratio
from analogpipe.results.tables import write_table
from analogpipe.settings import ConfigError
from analogpipe.theory.bounds import Floats, cycles_to
from analogpipe.theory.floor import DEVICE, Floor, interaction, network_table
from analogpipe.theory.rates import Rates, Way

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
    yield check("error of the longest run over sequential", way, interval(ratio, last))

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
    yield check("samples to target over sequential", way, interval(more_samples, both))
    yield check(
        "cycles to target, sequential over it",
        Way(way.device, way.mode, stages),
        interval(fewer_cycles, both),
    )


def of_floor(floor: Floor, sign: float = 1.0) -> Iterator[Check]:
    """Analog floor at the centre over the digital one, and over its prediction."""
    for mode, stages in (("sequential", 1), ("async", floor.stages)):
        way = Way("linear", mode, stages)
        analog = floor.values(floor.base, mode, floor.centre)
        exact = floor.values(floor.digital, mode, floor.centre)
        yield check("floor over digital", way, interval(ratio, np.stack([analog, exact])))
        expected = floor.expected(floor.base, mode, floor.centre, sign)
        yield check("floor over its prediction", way, interval(mean, analog[None] / expected))
    pair = [floor.values(floor.base, mode, floor.centre) for mode in ("async", "sequential")]
    way = Way("linear", "async", floor.stages)
    yield check("floor over sequential", way, interval(ratio, np.stack(pair)))


def main(
    profile: Annotated[Path, typer.Option(help="YAML file of the profile")],
    root: Annotated[Path, typer.Option(help="results/PROFILE, with its theory runs")],
) -> None:
    """Make the theory's tables from its runs."""
    settings = load_profile(profile)
    if settings.theory is None:
        raise ConfigError(f"{profile}: theory: missing, a value is required")
    runs, tables = root / "theory", root / "tables"
    both = [pd.read_csv(runs / f"rates-{device}.csv") for device in ("digital", "linear")]
    rates = Rates(pd.concat(both, ignore_index=True), settings.theory)
    floor = Floor(pd.read_csv(runs / "floor.csv"), settings.theory)
    network = pd.read_csv(runs / "network.csv")
    losses = {
        key: group.sort_values("seed")["train_loss"].to_numpy()
        for key, group in network.groupby([*DEVICE, "mode"], sort=False)
    }
    together = [interaction(floor.at_centre(), "floor"), interaction(losses, "network")]
    for name, frame in {
        "theory_rates": rates.table(),
        "theory_price": rates.price(),
        "theory_targets": rates.targets(),
        "theory_floor": floor.table(),
        "theory_network": network_table(network),
        "theory_interaction": pd.concat(together, ignore_index=True),
        "theory_checks": pd.DataFrame([*of_rates(rates), *of_floor(floor)]),
    }.items():
        write_text(tables / f"{name}.csv", frame.to_csv(index=False))
    write_table(pd.DataFrame([*rates.exponents(), *floor.exponents()]), tables / "table3")


if __name__ == "__main__":
    run_command(main)
