"""The paper's claims and, for each, what is measured and the region that it predicts, fixed beforehand.

Each row could come out otherwise; what follows from a schedule or from algebra is in checks.py.
docs/reproducing.md explains the rules. All rows are at the largest stage count.
"""

from collections.abc import Callable, Hashable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analogpipe.claims.evidence import Evidence
from analogpipe.claims.verdict import Region
from analogpipe.results.copies import cheapest
from analogpipe.results.intervals import Interval, exp, inverse, mean_interval
from analogpipe.results.terms import BEST_SYNC, MARGIN, ONE_STAGE, SEQUENTIAL, TIME, TWIN

STATEMENTS = {
    "C1": "one physical copy of each weight is enough, and copies would not be cheap",
    "C2": "synchronous pipeline training works and takes less time than no pipeline",
    "C3": "asynchronous pipeline training works on stale signals",
    "C4": "asynchronous training pays for staleness in samples only a lower-order term",
    "C5": "asymmetric updates leave an error that symmetric ones do not have",
    "C6": "the asynchronous pipeline is ahead of the synchronous one, and of no pipeline by far",
}
PRICE = 1.25
"""Samples over those without staleness that are still of lower order."""
LOWER_ORDER = 1.1
"""The price at the lowest loss over that at the highest: a price of higher order would grow."""
FLOOR = 1.05
"""Training loss over that of the symmetric twin."""
COPY = 32.0
"""Training steps of a sample: copies after every 32 samples would double the time of the training."""


Record = dict[Hashable, Any]
"""A row of a table."""


class Row(NamedTuple):
    """A measure of a claim on a device, with the region that is predicted and the interval that is measured."""

    device: str
    measure: str
    region: Region
    found: Interval


def _copies(evidence: Evidence) -> Iterator[Row]:
    if evidence.copies.empty:
        return
    cheap = cheapest(evidence.copies)
    for device in evidence.profile.analog_devices:
        for hardware in cheap["hardware"].unique():
            own = cheap[(cheap["device"] == device) & (cheap["hardware"] == hardware)]
            yield Row(
                device,
                f"cheapest good copy of an array, in the time of training steps, {hardware}",
                Region(low=COPY),
                exp(mean_interval(np.log(own["steps_in_time"].to_numpy(dtype=float)))),
            )


def _as_good(evidence: Evidence, mode: str) -> Iterator[Row]:
    measure = "loss" if evidence.profile.dataset.kind == "text" else "accuracy"
    table = evidence.differences
    table = table[(table["measure"] == measure) & (table["base"] == SEQUENTIAL)]
    for row in _rows(table, evidence, mode, ("common", "best")):
        yield Row(
            row["device"],
            f"test {measure}, {mode} less no pipeline, {_at(row)}",
            Region(-MARGIN[measure], MARGIN[measure]),
            (row["difference"], row["low"], row["high"]),
        )


def _times(
    evidence: Evidence, mode: str, base: str, terms: str, least: Callable[[str], float]
) -> Iterator[Row]:
    """Rows of the time of ``base`` over that of ``mode``, on every accelerator."""
    table = evidence.ratios
    timed = table["quantity"].str.startswith(TIME) | (table["quantity"] == "finest_cycles")
    table = table[timed & (table["base"] == base) & table["rung"].isna()]
    for row in _rows(table, evidence, mode, (terms,)):
        quantity = str(row["quantity"])
        what = "cycles" if quantity == "finest_cycles" else f"time on {quantity[len(TIME) :]}"
        over = "no pipeline" if base == SEQUENTIAL else f"best sync ({row['base_mode']})"
        yield Row(
            row["device"],
            f"{what} to the ladder, {over} over {mode}, {_at(row)}",
            Region(low=least(what)),
            inverse((row["ratio"], row["low"], row["high"])),
        )


def _sync(evidence: Evidence) -> Iterator[Row]:
    for mode in evidence.modes("sync"):
        yield from _as_good(evidence, mode)
        yield from _times(evidence, mode, SEQUENTIAL, "best", lambda what: 1.0)


def _async(evidence: Evidence) -> Iterator[Row]:
    for mode in evidence.modes("async"):
        yield from _as_good(evidence, mode)


def _samples(evidence: Evidence) -> Iterator[Row]:
    table = evidence.ratios
    table = table[(table["quantity"] == "samples") & (table["base"] == ONE_STAGE)]
    for mode in evidence.modes("async"):
        for row in _rows(table[table["rung"].isna()], evidence, mode, ("common",)):
            yield Row(
                row["device"],
                f"samples to the ladder, {mode} over itself in one stage, {_at(row)}",
                Region(high=PRICE),
                (row["ratio"], row["low"], row["high"]),
            )
        for device in evidence.profile.devices:
            own = table[(table["device"] == device) & table["rung"].notna()]
            rungs = list(_rows(own, evidence, mode, ("common",)))
            if len(rungs) > 1:
                yield _trend(device, mode, rungs)


def _trend(device: str, mode: str, rungs: list[Record]) -> Row:
    """How the price of staleness at the lowest loss compares with that at the highest.

    Its interval adds the squares of the half-widths of both on the logarithm, as if they were
    independent; the pairing makes it rather too wide.
    """
    ordered = sorted(rungs, key=lambda row: row["rung"])
    first, last = ordered[-1], ordered[0]
    value = np.log(last["ratio"]) - np.log(first["ratio"])
    half = np.hypot(*(np.log(row["high"] / row["low"]) / 2 for row in (first, last)))
    measure = (
        f"price of {mode} at loss {last['rung']:g} over that at {first['rung']:g}, common rate"
    )
    if np.isinf(last["ratio"]):  # never reached: the price has grown without bound
        return Row(device, measure, Region(high=LOWER_ORDER), (np.inf, np.inf, np.inf))
    found = exp((value, value - half, value + half))
    return Row(device, measure, Region(high=LOWER_ORDER), found)


def _floor(evidence: Evidence) -> Iterator[Row]:
    table = evidence.losses
    for row in table[table["base"] == TWIN].to_dict("records") if len(table) else ():
        yield Row(
            row["device"],
            f"training loss of the last epoch over the symmetric twin's, no pipeline, {_at(row)}",
            Region(low=FLOOR),
            (row["ratio"], row["low"], row["high"]),
        )


def _pipelines(evidence: Evidence) -> Iterator[Row]:
    most = evidence.most
    # A full pipeline of M stages works M times as fast; a quarter of that may go to staleness. In time, the
    # slowest stage is the pace, and half is left.
    for mode in evidence.modes("async"):
        yield from _times(
            evidence, mode, SEQUENTIAL, "best",
            lambda what: (0.75 if what == "cycles" else 0.5) * most,
        )  # fmt: skip
        yield from _times(evidence, mode, BEST_SYNC, "best", lambda what: 1.0)


def _rows(
    table: pd.DataFrame, evidence: Evidence, mode: str, terms: tuple[str, ...]
) -> Iterator[Record]:
    """Rows of a mode at the largest stage count on these terms; best ones that are the common ones, once."""
    here = table[(table["mode"] == mode) & (table["stages"] == evidence.most)]
    seen = set()
    for term in terms:
        for row in here[here["terms"] == term].to_dict("records"):
            names = ("device", "rate", "base_mode", "base_rate", "quantity", "rung")
            key = tuple(str(row.get(name)) for name in names)
            if key not in seen:
                seen.add(key)
                yield row


def _at(row: Record) -> str:
    if row["terms"] == "common":
        return f"both at {row['rate']:g}"
    return f"at {row['rate']:g} and {row['base_rate']:g}, each at its best"


RULES: dict[str, Callable[[Evidence], Iterator[Row]]] = {
    "C1": _copies,
    "C2": _sync,
    "C3": _async,
    "C4": _samples,
    "C5": _floor,
    "C6": _pipelines,
}
