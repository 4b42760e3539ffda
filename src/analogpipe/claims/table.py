"""The tables of verdicts: an answer for each claim and device, the rows behind it, and the checks apart."""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any

import pandas as pd
from rich.console import Console
from rich.table import Table

from analogpipe.claims.checks import CHECKS
from analogpipe.claims.evidence import Evidence
from analogpipe.claims.rules import RULES, STATEMENTS, Row
from analogpipe.claims.verdict import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED
from analogpipe.results import layout

ROWS = ("device", "measure", "expected", "measured", "low", "high", "verdict")
ANSWERS = ("claim", "device", "verdict", "reproduced", "rows", "statement", "effect", "measured",
           "low", "high", "refuted_by")  # fmt: skip
WORST_FIRST = (NOT_REPRODUCED, INCONCLUSIVE, REPRODUCED)
COLOURS = {REPRODUCED: "green", NOT_REPRODUCED: "red", INCONCLUSIVE: "yellow"}


def judge(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Return the tables layout.JUDGED: answers (ANSWERS), claims (``claim`` and ROWS), checks (``check`` and
    ROWS)."""
    claims, checks = _judge(evidence, RULES, "claim"), _judge(evidence, CHECKS, "check")
    return dict(zip(layout.JUDGED, (answers(claims), claims, checks), strict=True))


def _judge(
    evidence: Evidence, rules: Mapping[str, Callable[[Evidence], Iterator[Row]]], name: str
) -> pd.DataFrame:
    rows = [
        (which, device, measure, str(region), *found, region.verdict(*found[1:]))
        for which, rule in rules.items()
        for device, measure, region, found in rule(evidence)
    ]
    return pd.DataFrame(rows, columns=[name, *ROWS])


def answers(claims: pd.DataFrame) -> pd.DataFrame:
    """Return one line for each claim and device (ANSWERS): the verdict of its worst row, that row's effect
    with its interval, and what would have refuted it.

    Of rows with the same verdict the first is shown, in the order of the rules.
    """
    rows = []
    for (claim, device), own in claims.groupby(["claim", "device"], sort=False):
        ordered = own.sort_values("verdict", key=lambda v: v.map(WORST_FIRST.index), kind="stable")
        worst = ordered.iloc[0]
        good = int((own["verdict"] == REPRODUCED).sum())
        effect = [worst[name] for name in ("measure", "measured", "low", "high")]
        against = f"an interval wholly outside {worst['expected']}"
        head = (claim, device, worst["verdict"], good, len(own), STATEMENTS[str(claim)])
        rows.append((*head, *effect, against))
    return pd.DataFrame(rows, columns=list(ANSWERS)).sort_values("claim", kind="stable")


def show(tables: Mapping[str, pd.DataFrame]) -> None:
    """Print the answers and the claims to the terminal, and how many of the checks hold."""
    lines = Table("claim", "device", "verdict", "worst row", "measured", "95 % interval")
    for row in tables[layout.ANSWERS].to_dict("records"):
        verdict = f"[{COLOURS[row['verdict']]}]{row['verdict']}[/]"
        verdict += f", {row['reproduced']} of {row['rows']}"
        lines.add_row(row["claim"], row["device"], verdict, row["effect"], *_numbers(row))
    full = Table("claim", "device", "measure", "expected", "measured", "interval", "verdict")
    for row in tables[layout.CLAIMS].to_dict("records"):
        verdict = f"[{COLOURS[row['verdict']]}]{row['verdict']}[/]"
        head = (row["claim"], row["device"], row["measure"], row["expected"])
        full.add_row(*head, *_numbers(row), verdict)
    console = Console(width=160)
    console.print(full)
    console.print(lines)
    checks = tables[layout.CHECKS]
    held = int((checks["verdict"] == REPRODUCED).sum())
    console.print(f"checks: {held} of {len(checks)} hold")


def _numbers(row: Mapping[Hashable, Any]) -> tuple[str, str]:
    return f"{row['measured']:.4g}", f"{row['low']:.4g} to {row['high']:.4g}"
