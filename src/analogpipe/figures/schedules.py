"""The schedules as they were executed, drawn from tables alone: at column width, readable in grey."""

from matplotlib.figure import Figure

from analogpipe.figures import gantt
from analogpipe.figures.style import COLUMN, Tables


def schedules(tables: Tables, stages: int = 4, clocks: int = 26) -> Figure:
    """Fig. 1: what each stage did in each clock, from the record of the executed schedules."""
    executed = tables["schedules"]
    stages = stages if stages in set(executed["stages"]) else int(executed["stages"].max())
    modes = list(dict.fromkeys(executed["mode"]))
    table1 = tables["table1"].set_index(["mode", "stages"])
    figure = Figure(figsize=(COLUMN, 0.35 + 0.95 * len(modes)))
    panels = figure.subplots(len(modes), 1, sharex=True, squeeze=False)[:, 0]
    for axes, mode in zip(panels, modes, strict=True):
        here = executed[(executed["mode"] == mode) & (executed["stages"] == stages)]
        passes = here[here["action"] != "U"]
        slots = 2 if passes.duplicated(["stage", "clock"]).any() else 1
        shown = gantt.executed_cells(here[here["clock"] < clocks])
        gantt.draw(axes, shown, stages=stages, slots=slots, size=4.5)
        axes.set_xlim(0, clocks)
        row = table1.loc[(mode, stages)]
        axes.set_title(
            f"{mode}: density {row['density_executed']:.2f}", fontsize=7, loc="left", pad=2
        )
        axes.tick_params(length=2)
    panels[-1].set_xlabel("clock (F light, B dark, micro-batch as number, | update)")
    return figure
