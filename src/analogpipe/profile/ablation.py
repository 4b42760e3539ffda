"""Which causes keep an array from learning as digital does: the section ``ablation`` of a profile."""

from collections.abc import Collection, Iterator
from itertools import combinations
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from analogpipe.device.parameters import Pulsed
from analogpipe.settings import ConfigError, Name, Strict
from analogpipe.tile.config import TileConfig
from analogpipe.tile.sections import MixedPrecisionConfig, ReadoutConfig, TransferConfig

FACTORS = ("range", "noise", "granularity", "mapping", "rule")
NONE = "own"
"""The cell of the device as it is; the others are named by the factors that are better, A+B."""
Positive = Annotated[float, Field(gt=0)]


class Ablation(Strict):
    """The profile's network on one device, each of several causes as the device has it or better: all
    combinations (docs/theory.md)."""

    device: Name = Field(description="one of the profile's analog devices, which learns by pulses")
    rate: Positive = Field(description="the learning rate of all runs, digital ones too")
    range: Positive | None = Field(
        default=None, description="better w_max = -w_min; not varied if not given"
    )
    noise: Annotated[float, Field(ge=0)] | Literal["perfect"] | None = Field(
        default=None,
        description="better read-out: its out_noise, or perfect, which has no converters either",
    )
    granularity: Positive | None = Field(default=None, description="better dw_min")
    mapping: Positive | None = Field(
        default=None, description="better mapping: weight_scaling_omega, of a device that has none"
    )
    rule: Literal["mixed_precision", "ttv2"] | None = Field(
        default=None, description="better update rule than plain pulses"
    )
    stages: Annotated[int, Field(ge=2)] | None = Field(
        default=None, description="stages of an async pipeline that trains in every cell, too"
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    train: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="training samples; those of the data set if not given"
    )
    until: Positive | None = Field(
        default=0.01,
        description="change of the training loss from epoch to epoch, as a part of it, that ends a run at "
        "a constant rate; null: all run for `most` epochs, the rate as in training",
    )
    most: Annotated[int, Field(ge=1)] = Field(
        description="epochs after which a run ends in any case"
    )

    @model_validator(mode="after")
    def _varies_something(self) -> "Ablation":
        if not self.factors:
            raise ValueError(f"no factor is varied, allowed: one or more of {', '.join(FACTORS)}")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: a value is given twice in {self.seeds}")
        return self

    @property
    def factors(self) -> list[str]:
        """The factors that are varied, in order."""
        return [name for name in FACTORS if getattr(self, name) is not None]

    @property
    def ways(self) -> list[tuple[str, int]]:
        """Mode and stages of the runs of a cell."""
        return [("sequential", 1), *([("async", self.stages)] if self.stages else [])]

    def cells(self) -> Iterator[tuple[str, ...]]:
        """Return all sets of factors that are better, the empty one first."""
        for size in range(len(self.factors) + 1):
            yield from combinations(self.factors, size)

    def tile(self, own: TileConfig, better: Collection[str]) -> TileConfig:
        """Return the device's tile with some factors better than its own.

        Raises ConfigError where a factor of the device cannot be made better: it sends no pulses of its
        own, or it has a rule or a mapping already.
        """
        self.refuse(own)
        changes: dict[str, Any] = {}
        device: dict[str, float] = {}
        if "range" in better and self.range is not None:
            device |= {"w_max": self.range, "w_min": -self.range}
        if "granularity" in better and self.granularity is not None:
            device["dw_min"] = self.granularity
        if device:
            changes["device"] = own.device.model_copy(update=device)
        if "noise" in better:
            changes |= {part: self._readout(own, part) for part in ("forward", "backward")}
        if "mapping" in better:
            omega = {"weight_scaling_omega": self.mapping}
            changes["mapping"] = own.mapping.model_copy(update=omega)
        if "rule" in better and self.rule == "mixed_precision":
            changes["mixed_precision"] = MixedPrecisionConfig()
        elif "rule" in better:
            changes["transfer"] = TransferConfig()
        return own.model_copy(update=changes)

    def levels(self, own: TileConfig) -> dict[str, tuple[str, str]]:
        """Return what each factor is in the device, and what is better, in words."""
        assert isinstance(own.device, Pulsed)
        values: dict[str, tuple[object, object]] = {
            "range": (own.device.w_max, self.range),
            "noise": ("perfect" if own.forward.perfect else own.forward.out_noise, self.noise),
            "granularity": (own.device.dw_min, self.granularity),
            "mapping": ("none", self.mapping),
            "rule": ("pulses", self.rule),
        }
        return {name: (_short(values[name][0]), _short(values[name][1])) for name in self.factors}

    def refuse(self, own: TileConfig) -> None:
        """Raise ConfigError for a device whose factors cannot be made better."""
        if not isinstance(own.device, Pulsed):
            raise ConfigError(
                f"ablation.device: found {own.device.kind}, allowed: a device of pulsed elements"
            )
        if own.mixed_precision is not None or own.transfer is not None:
            raise ConfigError(
                "ablation.device: found a device with an update rule of its own, allowed: plain pulses"
            )
        if self.mapping is not None and own.mapping.weight_scaling_omega:
            raise ConfigError(
                f"ablation.mapping: the device has weight_scaling_omega "
                f"{own.mapping.weight_scaling_omega} already, allowed: a device without"
            )

    def _readout(self, own: TileConfig, part: str) -> ReadoutConfig:
        if self.noise == "perfect":
            return ReadoutConfig(perfect=True)
        read: ReadoutConfig = getattr(own, part)
        return read.model_copy(update={"out_noise": self.noise})


def name_of(better: Collection[str]) -> str:
    """Return the name of the cell in which some factors are better."""
    return "+".join(better) or NONE


def better_in(cell: str) -> frozenset[str]:
    """Return the factors that are better in a cell of this name."""
    return frozenset() if cell == NONE else frozenset(cell.split("+"))


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
