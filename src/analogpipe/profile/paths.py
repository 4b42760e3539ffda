"""Where the files of a profile lie."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analogpipe.profile.profile import Profile


def profile_file(name: str) -> Path:
    """Return the file of a profile: a path to YAML as it is, or config/NAME.yaml for a name."""
    return Path(name) if name.endswith((".yaml", ".yml")) else Path("config") / f"{name}.yaml"


def run_folder(
    root: Path,
    profile: "Profile",
    device: str,
    mode: str,
    stages: int | str,
    rate: float | str,
    seed: int | str,
) -> Path:
    """Return the folder of a run below ``root``, ``results/PROFILE``; the workflow gives wildcards.

    ``rate`` is that of the grid, before the factor of the mode.
    """
    names = (profile.dataset.name, profile.model.name, device, mode, f"M{stages}")
    return root.joinpath("runs", *names, _rate(rate), f"seed{seed}")


def sweep_folder(root: Path, device: str, mode: str, rate: float | str, seed: int | str) -> Path:
    """Return the folder of a run of the sweep below ``root``, ``results/PROFILE``."""
    return root.joinpath("sweep", device, mode, _rate(rate), f"seed{seed}")


def _rate(rate: float | str) -> str:
    return f"lr{rate if isinstance(rate, str) else format(rate, 'g')}"
