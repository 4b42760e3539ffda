"""The claims table: every measure of every claim with its verdict."""

import pandas as pd
from rich.console import Console
from rich.table import Table

from analogpipe.claims.evidence import Evidence
from analogpipe.claims.rules import RULES, STATEMENTS

COLUMNS = ("claim", "statement", "measure", "expected", "measured", "low", "high", "verdict")


def judge(evidence: Evidence) -> pd.DataFrame:
    """Return the claims table, a row per measure (COLUMNS)."""
    rows = [
        (claim, STATEMENTS[claim], measure, str(region), *found, region.verdict(*found[1:]))
        for claim, rule in RULES.items()
        for measure, region, found in rule(evidence)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def show(claims: pd.DataFrame) -> None:
    """Print the claims table to the terminal."""
    table = Table("claim", "measure", "expected", "measured", "95 % interval", "verdict")
    colours = {"reproduced": "green", "not reproduced": "red", "inconclusive": "yellow"}
    for row in claims.to_dict("records"):
        between = f"{row['low']:.4g} to {row['high']:.4g}"
        verdict = f"[{colours[row['verdict']]}]{row['verdict']}[/]"
        measured = f"{row['measured']:.4g}"
        table.add_row(row["claim"], row["measure"], row["expected"], measured, between, verdict)
    Console(width=150).print(table)
