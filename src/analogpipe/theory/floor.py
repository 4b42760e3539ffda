"""Tables of the error floor, from the runs of the theory's experiments."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analogpipe.profile.theory import Theory
from analogpipe.results.intervals import bootstrap, difference, mean, means, named
from analogpipe.theory.bounds import BLOCKS, Constants, Floats, Linear
from analogpipe.theory.expected import Expected
from analogpipe.theory.exponents import exponent
from analogpipe.theory.problem import PULSE_NOISE, Way, delays, floor_problem, read_noise

DEVICE = ["tau", "dw_min", "noise"]


class Floor:
    """The long runs at one step."""

    def __init__(self, runs: pd.DataFrame, sizes: Theory) -> None:
        self.sizes = sizes
        self.stages = max(sizes.stages)
        self.problem = floor_problem(sizes)
        self.base = (sizes.tau, sizes.dw_min, 0.0)
        self.digital = (np.inf, 0.0, 0.0)
        keys = [*DEVICE, "mode", "sigma", "size"]
        self.runs: dict[tuple[Any, ...], Floats] = {
            key: group.sort_values("seed")["floor"].to_numpy()
            for key, group in runs.groupby(keys, sort=False)
        }

    def values(self, device: tuple[float, ...], mode: str, group: tuple[float, float]) -> Floats:
        """Floor of each seed: device (tau, dw_min, noise), group (sigma, |w*|)."""
        found: Floats = self.runs[(*device, mode, *group)]
        return found

    def expected(
        self, device: tuple[float, ...], mode: str, group: tuple[float, float], sign: float = 1.0
    ) -> float:
        """Predicted floor; ``sign`` -1 plants a pull of the wrong direction."""
        tau, dw_min, noise = device
        sigma, size = group
        here = (self.problem.sigma == sigma) & (self.problem.size == size)
        problem = self.problem.constants(here)
        # Read-out noise enters the error signal exactly as noise of the target does.
        total = float(np.hypot(sigma, noise * read_noise(BLOCKS)))
        run = Expected(
            Constants(problem.inputs, total, problem.minimisers),
            Linear(tau, dw_min, PULSE_NOISE),
            step=self.sizes.floor_step,
            delays=delays(mode, self.stages if mode == "async" else 1),
            sign=sign,
        )
        return run.floor()

    @property
    def centre(self) -> tuple[float, float]:
        """The group of the profile's sigma and |w*|."""
        return self.sizes.sigma, self.sizes.size

    def at_centre(self) -> dict[tuple[Any, ...], Floats]:
        """Floors at the centre by (tau, dw_min, noise, mode), the base device first."""
        devices = [self.base, *(key[:3] for key in self.runs if key[4:] == self.centre)]
        return {
            (*device, mode): self.values(device, mode, self.centre)
            for device in dict.fromkeys(devices)
            for mode in ("sequential", "async")
            if device != self.digital
        }

    def settings(self) -> list[tuple[tuple[float, ...], tuple[float, float]]]:
        """Devices at the centre, then groups on the base device."""
        devices = [self.base, *(key[:3] for key in self.runs if key[4:] == self.centre)]
        groups = dict.fromkeys(key[4:] for key in self.runs)
        found = [(device, self.centre) for device in devices]
        found += [(device, group) for group in groups for device in (self.digital, self.base)]
        return list(dict.fromkeys(found))

    def table(self) -> pd.DataFrame:
        """A row per device, mode, sigma and |w*|: floor with interval and prediction."""
        rows = [
            {
                **dict(zip(DEVICE, device, strict=True)),
                "mode": mode,
                **dict(zip(("sigma", "size"), group, strict=True)),
                **named(
                    "floor",
                    bootstrap(mean, self.values(device, mode, group)[None]),
                    self.expected(device, mode, group),
                ),
            }
            for device, group in self.settings()
            for mode in ("sequential", "async")
        ]
        return pd.DataFrame(rows)

    def exponents(self) -> Iterator[dict[str, Any]]:
        """Exponents of the floor above the digital one, in tau, sigma and |w*|."""
        for mode in ("sequential", "async"):
            way = Way("linear", mode, self.stages if mode == "async" else 1)
            swept = {
                "tau": (-2.0, [((tau, *self.base[1:]), self.centre) for tau in self.sizes.ranges]),
                "sigma": (2.0, [(self.base, (s, self.sizes.size)) for s in self.sizes.sigmas]),
                "|w*|": (2.0, [(self.base, (self.sizes.sigma, w)) for w in self.sizes.sizes]),
            }
            places = {
                "tau": self.sizes.ranges,
                "sigma": self.sizes.sigmas,
                "|w*|": self.sizes.sizes,
            }
            for name, (order, settings) in swept.items():
                if len(settings) < 2:
                    continue
                excess = np.stack(
                    [
                        self.values(device, mode, group) - self.values(self.digital, mode, group)
                        for device, group in settings
                    ]
                )
                expected = [
                    self.expected(device, mode, group) - self.expected(self.digital, mode, group)
                    for device, group in settings
                ]
                yield exponent(
                    f"floor above digital in {name}",
                    way,
                    order,
                    np.array(places[name]),
                    means,
                    excess,
                    np.array(expected),
                )


def interaction(values: dict[tuple[Any, ...], Floats]) -> pd.DataFrame:
    """Whether imperfection and staleness add up: a row per device that differs from the first.

    ``values`` maps (tau, dw_min, noise, mode) to the error of each seed; ``price`` is that of async
    less sequential, ``more`` how much larger it is than on the first device. Where both causes
    merely add, ``more`` is zero.
    """
    devices = list(dict.fromkeys(key[:3] for key in values))
    rows = []
    for device in devices:
        pair = [
            values[(*at, mode)] for at in (device, devices[0]) for mode in ("async", "sequential")
        ]
        more = bootstrap(lambda v: (v[0] - v[1] - v[2] + v[3]).mean(-1), np.stack(pair))
        rows.append(
            {
                **dict(zip(DEVICE, device, strict=True)),
                **named("price", bootstrap(difference, np.stack(pair[:2]))),
                **named("more", more),
            }
        )
    return pd.DataFrame(rows)
