"""What the claims are judged by: the tables of a profile."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from analogpipe.profile.profile import Profile
from analogpipe.results import layout


@dataclass(frozen=True)
class Evidence:
    """The tables that the claims are judged by."""

    profile: Profile
    runs: pd.DataFrame
    targets: pd.DataFrame
    schedules: pd.DataFrame
    weights: pd.DataFrame
    exponents: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Table 3, the theory's fitted exponents; empty where the profile has no theory."""
    checks: pd.DataFrame = field(default_factory=pd.DataFrame)
    """The theory's other numbers."""

    @property
    def resolved(self) -> pd.DataFrame:
        """The targets without what only bounds them: those that were reached in a first epoch."""
        table = self.targets.copy()
        table.loc[~table["resolved"], ["samples", "cycles"]] = np.nan
        return table

    @classmethod
    def read(cls, root: Path, profile: Profile) -> "Evidence":
        """Return the tables that the workflow has written below ``root``, ``results/PROFILE``."""
        theory = layout.THEORY_EVIDENCE if profile.theory else ()
        return cls(
            profile,
            layout.read(root, "tables/runs"),
            layout.read(root, "tables/targets"),
            layout.read(root, "schedules/schedules"),
            layout.read(root, "schedules/weights"),
            *(layout.read(root, name) for name in theory),
        )

    def paired(
        self, frame: pd.DataFrame, value: str, device: str, mode: str, base: str, stages: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return ``value`` of mode and of base for the same seeds, at one stage count."""
        here = frame[(frame["device"] == device) & (frame["stages"] == stages)]
        table = here.pivot(index="seed", columns="mode", values=value)
        return table[mode].to_numpy(), table[base].to_numpy()
