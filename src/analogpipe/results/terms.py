"""The names of what modes are compared with and by, which tables, claims and figures share."""

SEQUENTIAL, ONE_STAGE, BEST_SYNC, TWIN = "sequential", "one stage", "best sync", "symmetric twin"
"""Bases of comparison: no pipeline, the mode without staleness, the synchronous mode that is ahead, and of
a device the one without asymmetry."""
TIME = "seconds, "
"""Begin of the quantity that is the time on an accelerator, before its name."""
MARGIN = {"accuracy": 0.01, "loss": 0.03}
"""What a pipeline may change and still be as good as no pipeline: a point of accuracy; of text, nats."""
