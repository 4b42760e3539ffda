"""What the claims are judged by: the tables of a profile."""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from analogpipe.profile.profile import Profile
from analogpipe.results import layout
from analogpipe.schedule.modes import MODE


@dataclass(frozen=True)
class Evidence:
    """The tables that the claims are judged by; those that a profile has no use for are empty."""

    profile: Profile
    schedules: pd.DataFrame
    weights: pd.DataFrame
    runs: pd.DataFrame
    differences: pd.DataFrame
    ratios: pd.DataFrame
    losses: pd.DataFrame
    copies: pd.DataFrame = field(default_factory=pd.DataFrame)
    exponents: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Table 3, the theory's fitted exponents,"""
    theory: pd.DataFrame = field(default_factory=pd.DataFrame)
    """and its other numbers."""

    @classmethod
    def read(cls, root: Path, profile: Profile) -> "Evidence":
        """Return the tables that the workflow has written below ``root``, ``results/PROFILE``."""
        schedules, weights, runs, *paired = (layout.read(root, name) for name in layout.EVIDENCE)
        differences, ratios, losses = paired
        copies = layout.read(root, layout.COPIES)
        theory = [
            layout.read(root, name) if profile.theory else pd.DataFrame()
            for name in layout.THEORY_EVIDENCE
        ]
        return cls(profile, schedules, weights, runs, differences, ratios, losses, copies, *theory)

    @property
    def most(self) -> int:
        """The largest stage count, at which the claims are judged."""
        return max(self.profile.stages)

    def modes(self, family: str) -> list[str]:
        """Return the modes of a family: ``sync``, with a flush, or ``async``, stale with one weight copy."""
        known = {name: MODE[mode.schedule] for name, mode in self.profile.modes.items()}
        if family == "sync":
            return [name for name, mode in known.items() if mode.flushes]
        return [name for name, mode in known.items() if mode.stale and not mode.stashes]
