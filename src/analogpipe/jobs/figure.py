"""Draw one figure from the tables that it is made from."""

from pathlib import Path
from typing import Annotated

import typer

from analogpipe.figures import ablation, device, hardware, modes, schedules, theory
from analogpipe.figures.style import Drawing, draw
from analogpipe.jobs.command import run

FIGURES: dict[str, Drawing] = {
    "fig1_schedules": schedules.schedules,
    "fig2_device": device.responses,
    "fig3_convergence": modes.convergence,
    "fig4_differences": modes.differences,
    "fig5_speedup": modes.speedup,
    "fig6_slopes": theory.slopes,
    "fig7_floor": theory.floor,
    "fig8_price": theory.price,
    "fig9_targets": theory.targets,
    "fig10_ablation": ablation.shares,
    "fig11_hardware_speedup": hardware.speedup,
    "fig12_hardware_target": hardware.to_target,
    "fig13_hardware_stages": hardware.stages,
    "fig14_hardware_plane": hardware.plane,
    "fig15_price": modes.price,
    "fig16_staleness": modes.staleness,
}
"""layout.FIGURES says from which tables."""


def main(
    figure: Annotated[str, typer.Option(help=f"one of {', '.join(FIGURES)}")],
    table: Annotated[
        list[Path], typer.Option(help="CSV that it is drawn from, named as the figure needs it")
    ],
    out: Annotated[Path, typer.Option(help="folder for the figure")],
) -> None:
    """Draw one figure from tables."""
    draw(FIGURES[figure], table, out / figure)


if __name__ == "__main__":
    run(main)
