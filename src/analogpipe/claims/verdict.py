"""How a verdict is reached: a measured interval against the region that a claim predicts.

``reproduced`` when the whole interval lies in the region, ``not reproduced`` when none of it does,
``inconclusive`` otherwise.
"""

from dataclasses import dataclass

import numpy as np

from analogpipe.results.intervals import Interval

REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE = "reproduced", "not reproduced", "inconclusive"


@dataclass(frozen=True)
class Region:
    """The numbers that a claim predicts, ends included."""

    low: float = -np.inf
    high: float = np.inf

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low:g}"
        if np.isinf(self.high):
            return f">= {self.low:g}"
        return f"<= {self.high:g}" if np.isinf(self.low) else f"{self.low:g} to {self.high:g}"

    def verdict(self, low: float, high: float) -> str:
        """Judge a measured interval. An interval that is not a number is inconclusive."""
        if self.low <= low and high <= self.high:
            return REPRODUCED
        if high < self.low or low > self.high:
            return NOT_REPRODUCED
        return INCONCLUSIVE


def exact(value: float) -> Interval:
    """Return a number that has no spread as its own interval."""
    return float(value), float(value), float(value)
