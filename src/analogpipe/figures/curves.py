"""Learning curves of single runs: test accuracy against samples and against clock cycles."""

from collections.abc import Sequence

import seaborn as sns
from matplotlib.figure import Figure

from analogpipe.figures.style import COLUMN, count_ticks
from analogpipe.results.run import FinishedRun


def figure(runs: Sequence[FinishedRun]) -> Figure:
    """Draw the runs in two panels that share the accuracy; a run is named by what tells it apart."""
    figure = Figure(figsize=(2 * COLUMN, 2.4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for run, name, colour in zip(
        runs, names(runs), sns.color_palette("colorblind", len(runs)), strict=True
    ):
        for axes, x in zip(panels, ("samples", "cycles"), strict=True):
            axes.plot(run.metrics[x], run.metrics["test_accuracy"], color=colour, label=name)
    panels[0].set(xlabel="training samples", ylabel="test accuracy")
    panels[1].set(xlabel="clock cycles")
    if len({int(run.metrics["cycles"].iloc[-1]) for run in runs}) > 1:
        panels[1].set_xscale("log")
        count_ticks(panels[1].xaxis)
    for axes in panels:
        sns.despine(ax=axes)
    panels[0].legend(frameon=False, fontsize="small")
    return figure


def names(runs: Sequence[FinishedRun]) -> list[str]:
    """Name each run by those of device, mode, stages, seed and learning rate in which they differ."""
    facts = [
        {
            "device": run.config.device,
            "mode": run.config.mode.name,
            "stages": f"M={run.config.stages}",
            "seed": f"seed {run.config.seed}",
            "learning rate": f"lr {run.config.learning_rate:g}",
        }
        for run in runs
    ]
    telling = [key for key in facts[0] if len({fact[key] for fact in facts}) > 1]
    return [
        ", ".join(fact[key] for key in telling or ("device", "mode", "stages")) for fact in facts
    ]
