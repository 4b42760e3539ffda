"""The figures of the paper's claims: what they show follows from the tables alone."""

import numpy as np
import pandas as pd

from analogpipe.figures import paper


def test_speedup_is_drawn_where_a_device_never_reaches_the_target(tmp_path):
    head = {"mode": "sequential", "seed": 0, "target": 0.9}
    targets = pd.DataFrame(
        [
            {**head, "device": device, "stages": stages, "samples": cycles, "cycles": cycles}
            for device, cycles in (("digital", 100.0), ("analog", np.nan))
            for stages in (2, 8)
        ]
    )
    table1 = pd.DataFrame({"mode": "sequential", "stages": [2, 8], "cycles": [10, 40]})
    figure = paper.speedup({"targets": targets, "table1": table1})
    figure.savefig(tmp_path / "fig5.png")
    texts = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert [("not reached" in text) for text in texts] == [False, True]
