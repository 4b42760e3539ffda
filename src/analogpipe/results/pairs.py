"""Modes against each other, seed by seed: which runs are compared, their differences and their ratios.

A comparison is made on ``common`` terms, all modes at one rate, on ``best`` terms, each at its own, and at
the further rates of the grid (``grid``). A mode is compared with no pipeline (``sequential``) at the same
number of stages and, if it is stale, with itself in one stage (``one stage``), which has no staleness, and
with the ``best sync``, the synchronous mode that is ahead in what is compared.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analogpipe.profile.paths import run_folder
from analogpipe.profile.profile import COMMON, SYMMETRIC, Profile
from analogpipe.results.intervals import equivalence, exp, mean_interval
from analogpipe.results.ladder import log_ratios, per_seed
from analogpipe.results.run import read
from analogpipe.results.terms import BEST_SYNC, ONE_STAGE, SEQUENTIAL, TIME, TWIN
from analogpipe.schedule.modes import MODE

Floats = NDArray[np.float64]
COUNTS = ("samples", "sample_cycles", "finest_cycles")
MEASURES = ("accuracy", "loss")
HEAD = ["device", "terms", "mode", "stages", "rate", "base", "base_mode", "base_rate"]
DIFFERENCES = [
    *HEAD,
    "measure",
    "seeds",
    "difference",
    "seed_error",
    "sampling_error",
    "low",
    "high",
]
RATIOS = [*HEAD, "quantity", "rung", "seeds", "reached", "ratio", "low", "high"]


class Side(NamedTuple):
    """The runs of all seeds of one side of a comparison."""

    device: str
    mode: str
    stages: int
    rate: float


class Pair(NamedTuple):
    """A comparison of two sides whose seeds are paired."""

    terms: str
    own: Side
    base: str
    other: Side

    def head(self) -> dict[str, Any]:
        """Return the columns HEAD."""
        own, other = self.own, self.other
        values = (own.device, self.terms, own.mode, own.stages, own.rate)
        return dict(zip(HEAD, (*values, self.base, other.mode, other.rate), strict=True))


def terms(profile: Profile, device: str) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Return the terms of comparison, each with the rates of all modes."""
    known = profile.learning_rates[device]
    yield "common", dict.fromkeys(profile.modes, known[COMMON])
    yield "best", {mode: known[mode] for mode in profile.modes}
    for rate in profile.rates.get(device, []):
        if rate != known[COMMON]:
            yield "grid", dict.fromkeys(profile.modes, rate)


def pairs(profile: Profile) -> Iterator[Pair]:
    """Return the comparisons with no pipeline and with one stage."""
    for device in profile.devices:
        for name, rates in terms(profile, device):
            for mode, stages in product(profile.modes, profile.stages):
                own = Side(device, mode, stages, rates[mode])
                if mode != SEQUENTIAL:
                    none = own._replace(mode=SEQUENTIAL, rate=rates[SEQUENTIAL])
                    yield Pair(name, own, SEQUENTIAL, none)
                stale = MODE[profile.modes[mode].schedule].stale
                if stale and stages > 1 and 1 in profile.stages:
                    yield Pair(name, own, ONE_STAGE, own._replace(stages=1))


def twins(profile: Profile) -> Iterator[Pair]:
    """Return the comparisons of analog devices with their symmetric twins, without a pipeline."""
    for device in profile.with_twin:
        own = Side(device, SEQUENTIAL, 1, profile.learning_rates[device][COMMON])
        yield Pair("common", own, TWIN, own._replace(device=device + SYMMETRIC))


def differences(root: Path, profile: Profile) -> pd.DataFrame:
    """Return the differences of final test accuracy and loss, own less base (columns DIFFERENCES).

    Seeds are paired and so are test samples. ``low`` and ``high`` hold 90 %: both lie within a margin
    exactly if two one-sided tests at 5 % say so. Their width has the error of the seeds and that of
    the sample of test samples.
    """

    @cache
    def tested(side: Side) -> Mapping[str, Floats]:
        depends = profile.modes[side.mode].weights_depend_on_stages
        frames = [
            read(
                run_folder(
                    root,
                    profile,
                    side.device,
                    side.mode,
                    side.stages if depends else 1,
                    side.rate,
                    seed,
                )
            ).tested()
            for seed in profile.seeds
        ]
        return {name: np.stack([frame[name] for frame in frames]) for name in MEASURES}

    rows = []
    for pair in (*pairs(profile), *twins(profile)):
        own, other = tested(pair.own), tested(pair.other)
        for name in MEASURES:
            with np.errstate(invalid="ignore"):
                difference = own[name] - other[name]
            # a loss that is no number is that of a run that has diverged, whatever it is compared with
            found = equivalence(np.where(np.isnan(difference), np.inf, difference))
            head = {**pair.head(), "measure": name, "seeds": len(profile.seeds)}
            rows.append((*head.values(), *found))
    return pd.DataFrame(rows, columns=DIFFERENCES)


def ratios(profile: Profile, ladder: pd.DataFrame, hardware: pd.DataFrame) -> pd.DataFrame:
    """Return the ratios of samples, cycles and time to the rungs of a ladder, own over base (RATIOS).

    ``rung`` is one of the ladder's losses, or empty for all of them: a seed's ratio is then the geometric
    mean over rungs (see ladder.log_ratios). ``reached`` are the seeds of ``own`` that reach it. Time is that of
    the accelerators of the table ``hardware`` (quantity ``seconds, NAME``), with the micro-batches that are
    the fastest for the same updates. Intervals hold 95 %, Student's on the logarithms of paired ratios.
    """

    @cache
    def counts(side: Side, quantity: str) -> Floats:
        base = "samples" if quantity.startswith(TIME) else quantity
        found = per_seed(ladder, base, **side._asdict()).to_numpy()
        return found * seconds(side, quantity)[:, None] if quantity != base else found

    @cache
    def seconds(side: Side, quantity: str) -> Floats:
        here = hardware[hardware["hardware"] == quantity.removeprefix(TIME)]
        for name, value in side._asdict().items():
            here = here[here[name] == value]
        return here.sort_values("seed")["best_seconds"].to_numpy()

    def row(pair: Pair, quantity: str, rungs: list[float], which: slice, rung: Any) -> list[Any]:
        own, other = counts(pair.own, quantity)[:, which], counts(pair.other, quantity)[:, which]
        reached = int(np.isfinite(own).all(1).sum())
        found = exp(mean_interval(log_ratios(own, other)))
        return [*pair.head().values(), quantity, rung, len(own), reached, *found]

    rows = []
    priced = {str(device) for device in hardware["device"].unique()}
    for first in pairs(profile):
        rungs = profile.ladder[first.own.device]
        timed = [f"{TIME}{name}" for name in hardware["hardware"].unique()]
        quantities = [*COUNTS, *(timed if first.own.device in priced else [])]
        for quantity in quantities:
            compared = [first]
            if first.base == SEQUENTIAL:
                compared += _best_sync(profile, first, lambda side, q=quantity: counts(side, q))
            for pair in compared:
                rows.append(row(pair, quantity, rungs, slice(None), np.nan))
                if quantity == "samples":
                    for k, rung in enumerate(rungs):
                        rows.append(row(pair, quantity, rungs, slice(k, k + 1), rung))
    return pd.DataFrame(rows, columns=RATIOS)


def _best_sync(profile: Profile, pair: Pair, counts: Any) -> list[Pair]:
    """Return a stale mode's comparison with the synchronous mode that needs least, on the same terms."""
    own = pair.own
    if not MODE[profile.modes[own.mode].schedule].stale:
        return []
    known = profile.learning_rates[own.device]
    flushing = [mode for mode, one in profile.modes.items() if MODE[one.schedule].flushes]
    sides = [
        own._replace(mode=mode, rate=known[mode] if pair.terms == "best" else own.rate)
        for mode in flushing
    ]
    if not sides:
        return []
    best = min(sides, key=lambda side: float(np.log(counts(side)).mean()))
    return [Pair(pair.terms, own, BEST_SYNC, best)]


def losses(runs: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """Return ratios of the training loss of the last epoch, own over base (columns RATIOS, no rung)."""
    last = runs[runs["epoch"] == runs["epoch"].max()]
    rows = []
    for pair in (*pairs(profile), *twins(profile)):
        sides = [
            last.loc[
                np.logical_and.reduce([last[n] == v for n, v in side._asdict().items()])
            ].sort_values("seed")["train_loss"]
            for side in (pair.own, pair.other)
        ]
        own, other = (side.fillna(np.inf).to_numpy() for side in sides)
        found = exp(mean_interval(np.log(own / other)))
        count = len(own)
        rows.append((*pair.head().values(), "train_loss", np.nan, count, count, *found))
    return pd.DataFrame(rows, columns=RATIOS)
