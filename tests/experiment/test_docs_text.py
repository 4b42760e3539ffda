"""The table of async on a decoder in docs/results.md is that of its file."""

import json
import re
from pathlib import Path

import pandas as pd

DOCS = Path(__file__).parents[2] / "docs"
ROW = r"^\| (16|4|1) \| AdamW(, [^|]+)? \|([^|]*)\|([^|]*)\|([^|]*)\|$"


def test_table_of_async_on_a_decoder():
    runs = pd.read_csv(DOCS / "figures" / "async-decoder.csv")
    runs = runs[runs["split"] == "validation"].sort_values("loss", na_position="last")
    rows = re.findall(ROW, (DOCS / "results.md").read_text(), re.M)
    assert len(rows) == 8
    sequential = {}
    for size, what, none, shown, above in rows:
        here = runs[(runs["micro_batch"] == int(size)) & (runs["decay"] == "constant")]
        beta1 = re.search(r"beta1 ([\d.]+)", what)
        optimizer = {"kind": "adamw"} | ({"beta1": float(beta1[1])} if beta1 else {})
        here = here[here["optimizer"].map(json.loads) == optimizer]
        softened = here["mode"].map(lambda text: bool(json.loads(text)))
        if none := none.strip():
            best = here[here["stages"] == 1].iloc[0]
            sequential[size] = best["loss"]
            assert none == f"{best['loss']:.3f} ({best['rate']:g})"
        best = here[(here["stages"] == 8) & (softened == ("delay" in what))].iloc[0]
        assert shown.strip() == f"{best['loss']:.3f} ({best['rate']:g})"
        assert above.strip() == f"{best['loss'] - sequential[size]:.3f}"
