"""The paper's claims and, for each, what is measured and the region that it predicts, fixed beforehand.

docs/reproducing.md explains the rules; those on problems with known constants, whose intervals are
bootstrapped over seeds, are explained in docs/theory.md.
"""

from collections.abc import Callable, Iterator

import pandas as pd

from analogpipe.claims.evidence import Evidence
from analogpipe.claims.verdict import Region, exact
from analogpipe.profile.profile import DIGITAL
from analogpipe.results.intervals import Interval, mean_interval, ratio_interval
from analogpipe.results.tables import final
from analogpipe.schedule.modes import MODE

STATEMENTS = {
    "C1": "one physical copy of each weight is enough to train in a pipeline",
    "C2": "synchronous pipeline training works and needs fewer cycles than no pipeline",
    "C3": "asynchronous pipeline training works on stale signals and keeps every stage busy",
    "C4": "asynchronous training pays for staleness in samples only a lower-order term",
    "C5": "analog updates leave an error that digital SGD does not have",
    "C6": "pipelines reach the accuracy of no pipeline in far fewer cycles",
}
# Accuracy that a pipeline may lose and still "reach" that of no pipeline (fractions of one).
MARGIN = {True: 0.01, False: 0.02}  # digital, analog
FASTER = "cycles to target, sequential over it"

Row = tuple[str, Region, Interval]
"""Measure, region, measured interval."""


def _theory(
    table: pd.DataFrame,
    quantity: str,
    region: Region | Callable[[int], Region],
    modes: tuple[str, ...] = (),
) -> Iterator[Row]:
    """Rows of one quantity of the theory, on a least-squares problem; of all modes if none is given.

    ``region`` may be a function of the number of stages.
    """
    if table.empty:
        return
    here = table[table["quantity"] == quantity]
    for row in here.to_dict("records"):
        if not modes or row["mode"] in modes:
            way = f"{row['device']}, {row['mode']}, M={row['stages']}"
            found = (row["measured"], row["low"], row["high"])
            predicted = region if isinstance(region, Region) else region(row["stages"])
            yield f"least squares, {quantity}, {way}", predicted, found


def _one_copy(evidence: Evidence) -> Iterator[Row]:
    passes = evidence.schedules[evidence.schedules["action"].isin(["B", "U"])]
    passes = passes[
        passes["mode"].map(lambda mode: not MODE[evidence.profile.modes[mode].schedule].stashes)
    ]
    # The versions of a stage's backward passes must be the updates that it has made until then.
    updates = passes["action"].eq("U").groupby([passes["mode"], passes["stages"], passes["stage"]])
    made = updates.cumsum() - passes["action"].eq("U").astype(int)
    live = (passes["version"] == made)[passes["action"] == "B"]
    yield (
        "backward passes that used the weights then in the array, share",
        Region(1, 1),
        exact(live.mean()),
    )
    in_place = evidence.weights["in_place"].mean()
    yield "schedules whose weights never left their storage, share", Region(1, 1), exact(in_place)


def _accuracy(evidence: Evidence, mode: str) -> Iterator[Row]:
    most = max(evidence.profile.stages)
    last = final(evidence.runs)
    for device in evidence.profile.devices:
        own, base = evidence.paired(last, "test_accuracy", device, mode, "sequential", most)
        margin = MARGIN[device == DIGITAL]
        yield (
            f"final accuracy, {mode} less sequential, {device}, M={most}",
            Region(low=-margin),
            mean_interval(own - base),
        )


def _speedup(evidence: Evidence, mode: str, least: float) -> Iterator[Row]:
    most = max(evidence.profile.stages)
    for device in evidence.profile.devices:
        own, base = evidence.paired(evidence.resolved, "cycles", device, mode, "sequential", most)
        yield (
            f"cycles to target, sequential over {mode}, {device}, M={most}",
            Region(low=least),
            ratio_interval(base, own),
        )


def _sync(evidence: Evidence) -> Iterator[Row]:
    for mode in _modes(evidence, "sync"):
        yield from _accuracy(evidence, mode)
        yield from _speedup(evidence, mode, 1)
    yield from _theory(evidence.checks, FASTER, Region(low=1), ("sync",))


def _async(evidence: Evidence) -> Iterator[Row]:
    for mode in _modes(evidence, "async"):
        most = max(evidence.profile.stages)
        runs = evidence.runs
        busy = runs[(runs["mode"] == mode) & (runs["stages"] == most)]["density"].min()
        yield f"computation density of a run, {mode}, M={most}", Region(low=0.99), exact(busy)
        yield from _accuracy(evidence, mode)
    last = "error of the longest run over sequential"
    yield from _theory(evidence.checks, last, Region(high=1.1), ("async",))
    yield from _theory(evidence.checks, "floor over sequential", Region(high=1.1))


def _samples(evidence: Evidence) -> Iterator[Row]:
    most = max(evidence.profile.stages)
    for mode in _modes(evidence, "async"):
        for device in evidence.profile.devices:
            own, base = evidence.paired(
                evidence.resolved, "samples", device, mode, "sequential", most
            )
            yield (
                f"samples to target, {mode} over sequential, {device}, M={most}",
                Region(high=1.25),
                ratio_interval(own, base),
            )
    more = "samples to target over sequential"
    yield from _theory(evidence.checks, more, Region(high=1.25), ("async",))
    yield from _theory(evidence.exponents, "error in samples", Region(-0.55, -0.45))
    yield from _theory(evidence.checks, "error over bound, largest", Region(high=1))
    yield from _theory(evidence.exponents, "price of staleness in step", Region(1.8, 2.2))
    yield from _theory(evidence.exponents, "price of staleness in M-1", Region(0.9, 1.1))


def _floor(evidence: Evidence) -> Iterator[Row]:
    last = final(evidence.runs)
    last = last[(last["mode"] == "sequential") & (last["stages"] == last["stages"].min())]
    table = last.pivot(index="seed", columns="device", values="train_loss")
    for device in evidence.profile.analog_devices if DIGITAL in table else []:
        yield (
            f"training loss of the last epoch, {device} over digital, sequential",
            Region(low=1.05),
            ratio_interval(table[device].to_numpy(), table[DIGITAL].to_numpy()),
        )
    yield from _theory(evidence.checks, "floor over digital", Region(low=1.05))
    yield from _theory(evidence.checks, "floor over its prediction", Region(0.9, 1.1))


def _pipelines(evidence: Evidence) -> Iterator[Row]:
    most = max(evidence.profile.stages)
    for mode in _modes(evidence, "async"):
        # A full pipeline of M stages works M times as fast; a quarter of that may go to staleness.
        yield from _speedup(evidence, mode, 0.75 * most)
        yield from _accuracy(evidence, mode)
    yield from _theory(evidence.checks, FASTER, lambda m: Region(low=0.75 * m), ("async",))


def _modes(evidence: Evidence, family: str) -> list[str]:
    """Return the profile's modes of a family of schedules: ``sync`` (with a flush) or ``async`` (stale)."""
    modes = [(name, MODE[mode.schedule]) for name, mode in evidence.profile.modes.items()]
    return [name for name, mode in modes if (mode.flushes if family == "sync" else mode.stale)]


RULES: dict[str, Callable[[Evidence], Iterator[Row]]] = {
    "C1": _one_copy,
    "C2": _sync,
    "C3": _async,
    "C4": _samples,
    "C5": _floor,
    "C6": _pipelines,
}
