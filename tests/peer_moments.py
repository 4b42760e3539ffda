"""Means and spreads of changes of weights (rows, columns), ours and AIHWKit's; rows are independent.

``TOLERANCE`` is what the closed form of ``pulsed`` may be off beyond the statistical error.
"""

from torch import Tensor

Z = 4.5
TOLERANCE = 0.015


def moments(changes: Tensor) -> tuple[float, float, float, float]:
    """Mean, its error, standard deviation, its error; rows are the independent units."""
    changes = changes.double()
    rows = changes.shape[0]
    mean = changes.mean()
    mean_error = changes.mean(1).std() / rows**0.5
    square = (changes - mean).square().mean(1)
    deviation = square.mean().sqrt()
    deviation_error = square.std() / rows**0.5 / (2 * deviation)
    return float(mean), float(mean_error), float(deviation), float(deviation_error)


def pulls(ours: Tensor, peers: Tensor) -> tuple[float, float]:
    """Differences of mean and spread beyond the tolerance, over their standard errors."""
    m1, me1, s1, se1 = moments(ours)
    m2, me2, s2, se2 = moments(peers)
    slack = TOLERANCE * max(abs(m2), 0.1 * s2)
    mean = max(abs(m1 - m2) - slack, 0) / (me1**2 + me2**2) ** 0.5
    spread = max(abs(s1 - s2) - TOLERANCE * s2, 0) / (se1**2 + se2**2) ** 0.5
    return mean, spread


def assert_alike(ours: dict[int, Tensor], peers: dict[int, Tensor]) -> None:
    """Changes by the number of updates: means and spreads differ by less than ``Z`` errors."""
    for n in ours:
        mean, spread = pulls(ours[n], peers[n])
        note = f"{n} updates: ours {moments(ours[n])}, AIHWKit {moments(peers[n])}"
        assert mean < Z, note
        assert spread < Z, note
