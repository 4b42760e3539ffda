"""Checks: identities of the schedules, theorems, and regression tests on problems with known constants.

They hold unless the program is wrong, and say nothing about networks: they are shown and counted apart
from the claims. Those of the theory are explained in docs/theory.md; its intervals are bootstrapped.
"""

from collections.abc import Callable, Iterator

import pandas as pd

from analogpipe.claims.evidence import Evidence
from analogpipe.claims.rules import Row
from analogpipe.claims.verdict import Region, exact
from analogpipe.results.live import largest_deviation
from analogpipe.results.pairs import pairs
from analogpipe.schedule.modes import MODE

FASTER = "cycles to target, sequential over it"
ROUNDING = 1e-4
"""Relative deviation that rounding may make; a stale weight makes a hundred times as much or more."""
ALL = "all"
"""The device of what does not depend on it."""


def _schedules(evidence: Evidence) -> Iterator[Row]:
    modes = evidence.profile.modes.items()
    plain = [name for name, mode in modes if not MODE[mode.schedule].stashes]
    passes = evidence.schedules[evidence.schedules["action"].isin(["B", "U"])]
    passes = passes[passes["mode"].isin(plain)]
    # The versions of a stage's backward passes must be the updates that it has made until then.
    updates = passes["action"].eq("U").groupby([passes["mode"], passes["stages"], passes["stage"]])
    made = updates.cumsum() - passes["action"].eq("U").astype(int)
    live = (passes["version"] == made)[passes["action"] == "B"]
    one = Region(1, 1)
    yield Row(ALL, "backward passes of the weights' newest version, share", one, exact(live.mean()))
    in_place = evidence.weights["in_place"].mean()
    yield Row(ALL, "schedules whose weights never left their storage, share", one, exact(in_place))
    deviation = largest_deviation(evidence.weights, plain)
    measure = "errors given back, off the product with the weights then in the array, largest"
    yield Row(ALL, measure, Region(high=ROUNDING), exact(deviation))
    for mode in evidence.modes("async"):
        runs = evidence.runs
        busy = runs[(runs["mode"] == mode) & (runs["stages"] == evidence.most)]["density"].min()
        measure = f"computation density of a run, {mode}, M={evidence.most}"
        yield Row(ALL, measure, Region(low=0.99), exact(busy))


def _pairing(evidence: Evidence) -> Iterator[Row]:
    """Whether compared runs of a seed began alike: the same weights, read on the same samples."""
    keys = ["device", "mode", "stages", "rate"]
    runs = evidence.runs[evidence.runs["epoch"] == evidence.runs["epoch"].min()]
    starts = {key: part.set_index("seed")["start_loss"] for key, part in runs.groupby(keys)}
    alike = [
        bool((starts[tuple(pair.own)] == starts[tuple(pair.other)]).all())
        for pair in pairs(evidence.profile)
    ]
    share = sum(alike) / max(1, len(alike))
    measure = "comparisons whose runs began with the same loss, seed by seed, share"
    yield Row(ALL, measure, Region(1, 1), exact(share))


def _theory(
    table: pd.DataFrame,
    quantity: str,
    region: Region | Callable[[int], Region],
    modes: tuple[str, ...] = (),
) -> Iterator[Row]:
    """Rows of one quantity of the theory, on a least-squares problem; of all modes if none is given.

    ``region`` may be a function of the number of stages.
    """
    for row in table[table["quantity"] == quantity].to_dict("records") if len(table) else ():
        if not modes or row["mode"] in modes:
            found = (row["measured"], row["low"], row["high"])
            predicted = region if isinstance(region, Region) else region(row["stages"])
            measure = f"least squares, {quantity}, {row['mode']}, M={row['stages']}"
            yield Row(str(row["device"]), measure, predicted, found)


def _problems(evidence: Evidence) -> Iterator[Row]:
    theory, exponents = evidence.theory, evidence.exponents
    more = "samples to target over sequential"
    last = "error of the longest run over sequential"
    yield from _theory(theory, FASTER, Region(low=1), ("sync",))
    yield from _theory(theory, FASTER, lambda m: Region(low=0.75 * m), ("async",))
    yield from _theory(theory, last, Region(high=1.1), ("async",))
    yield from _theory(theory, "floor over sequential", Region(high=1.1))
    yield from _theory(theory, more, Region(high=1.25), ("async",))
    yield from _theory(exponents, "error in samples", Region(-0.55, -0.45))
    yield from _theory(theory, "error over bound, largest", Region(high=1))
    yield from _theory(exponents, "price of staleness in step", Region(1.8, 2.2))
    yield from _theory(exponents, "price of staleness in M-1", Region(0.9, 1.1))
    yield from _theory(theory, "floor over digital", Region(low=1.05))
    yield from _theory(theory, "floor over its prediction", Region(0.9, 1.1))


CHECKS: dict[str, Callable[[Evidence], Iterator[Row]]] = {
    "schedules": _schedules,
    "pairing": _pairing,
    "theory": _problems,
}
