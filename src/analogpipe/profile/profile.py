"""The configuration of a profile (one YAML file) and of one run, checked before anything starts.

This module imports no torch, so that the workflow can check a configuration in a moment.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from analogpipe.files import read_yaml
from analogpipe.profile.ablation import Ablation
from analogpipe.profile.sections import (
    Compute,
    Dataset,
    Mode,
    Model,
    NamedMode,
    PythonModel,
    Sweep,
    Training,
)
from analogpipe.profile.theory import Theory
from analogpipe.schedule.partition import PartitionError, from_sizes
from analogpipe.settings import ConfigError, Name, Strict, checked, override
from analogpipe.tile.config import TileConfig, TileConfigError

DIGITAL = "digital"
COMMON = "common"
"""Key of learning_rates for the one rate at which all modes of a device are compared."""
METRICS = ("epoch", "samples", "cycles", "train_loss", "test_loss", "test_accuracy")
"""Columns of a run's metrics.csv, which has a row per epoch."""
SYMMETRIC = "-symmetric"
"""Ending of the name of a device's twin without asymmetry."""
CURVE = ("samples", "cycles", "loss")
"""Columns of a run's curve.csv, a row per reading of the training loss on a fixed subset."""
TESTED = ("sample", "loss", "accuracy")
"""Columns of a run's tested.csv, a row per test sample at the end of the run."""


class Run(Strict):
    """Everything that one training run depends on, besides the code and the machine."""

    profile: Name
    dataset: Dataset
    model: Model
    device: Name
    tile: TileConfig | None = None
    mode: NamedMode
    stages: int = Field(ge=1)
    split: list[int] | None = None
    seed: int = Field(ge=0)
    learning_rate: float = Field(gt=0)
    training: Training
    compute: Compute = Compute()
    validation: bool = False

    @model_validator(mode="before")
    @classmethod
    def _of_older_record(cls, value: object) -> object:
        """Read the run.json of an older run: ``mode`` held the name, ``schedule`` its settings."""
        if not isinstance(value, Mapping) or not isinstance(value.get("schedule"), Mapping):
            return value
        rest = {key: entry for key, entry in value.items() if key != "schedule"}
        return rest | {"mode": {**value["schedule"], "name": value.get("mode")}}


Rate = Annotated[float, Field(gt=0)]
Ladder = Annotated[list[Rate], Field(min_length=1)]


class Profile(Strict):
    """One profile of the workflow: the grid of runs and how each is trained."""

    profile: Name = Field(description="name of the profile and of its folder in results/")
    dataset: Dataset
    model: Model
    devices_file: str = Field(
        default="devices.yaml", description="device descriptions, relative to the profile's file"
    )
    devices: list[Name] = Field(
        min_length=1, description=f"'{DIGITAL}' and names of the devices file"
    )
    modes: dict[Name, Mode] = Field(min_length=1, description="the modes to compare, by name")
    stages: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    splits: dict[int, list[int]] = Field(
        default={},
        description="blocks of each stage, by stage count; where not given, the slowest stage has as "
        "few array reads as possible",
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    training: Training
    compute: Compute = Compute()
    learning_rates: dict[Name, dict[Name, Rate]] = Field(
        description=f"per device: '{COMMON}', the rate at which all modes are compared, and the best of "
        "each mode, as the sweep picks them; a mode's factor (rate_factor) comes on top"
    )
    rates: dict[Name, list[Rate]] = Field(
        default={},
        description="per device: further rates at which all modes run with all seeds",
    )
    seeds_together: bool = Field(
        default=False,
        description="whether a job trains all seeds of a setting, one after the other: for runs of seconds",
    )
    sweep: Sweep | None = Field(
        default=None, description="how `make sweep` looks for them; no sweep if not given"
    )
    ladder: dict[Name, Ladder] = Field(
        description="per device: falling training losses to which samples, cycles and time are counted"
    )
    twins: list[Name] | None = Field(
        default=None,
        description="analog devices that are compared with their twins without asymmetry; all if not "
        "given. One without such a twin (pairs) is refused by its training",
    )

    theory: Theory | None = Field(
        default=None, description="experiments on problems with known constants; none if not given"
    )
    ablation: Ablation | None = Field(
        default=None,
        description="what keeps an array from learning as digital does, cause by cause; none if not given",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Profile":
        for key in ("devices", "stages", "seeds"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key}: a value is given twice in {values}")
        free = "python" in (self.model.kind, self.dataset.kind)
        if not free and (self.model.kind == "decoder") != (self.dataset.kind == "text"):
            raise ValueError(
                f"model.kind: found {self.model.kind} for a data set of kind {self.dataset.kind}, "
                "allowed: decoder for text, the others for images"
            )
        if self.dataset.kind == "text" and self.training.augmentation != "none":
            raise ValueError("training.augmentation: found crop-flip, allowed for text: none")
        largest = {"stages": max(self.stages)}
        if self.sweep is not None:
            largest["sweep.stages"] = self.sweep.stages
        if self.ablation is not None:
            largest["ablation.stages"] = self.ablation.stages or 1
        for key, most in largest.items():
            if most > self.model.blocks:
                raise ValueError(
                    f"{key}: found {most}, allowed: at most {self.model.blocks}, "
                    f"the blocks of {self.model.name}"
                )
        for stages, split in self.splits.items():
            try:
                from_sizes(split, self.model.blocks, stages)
            except PartitionError as error:
                raise ValueError(f"splits.{stages}: {error}") from None
        return self

    @model_validator(mode="after")
    def _compared(self) -> "Profile":
        """Check that all modes of all devices can be compared."""
        if self.modes.get("sequential") != Mode(schedule="sequential"):
            raise ValueError(
                "modes: a mode named sequential, with schedule sequential, is required: "
                "the others are compared with it"
            )
        if COMMON in self.modes:
            raise ValueError(f"modes: found {COMMON}, which is the key of the common rate")
        tables: dict[str, Mapping[str, object]] = {
            "learning_rates": self.learning_rates,
            "ladder": self.ladder,
        }
        if self.sweep is not None:
            tables["sweep.rates"] = self.sweep.rates
        for device in self.devices:
            for name, table in tables.items():
                if device not in table:
                    raise ValueError(f"{name}: no entry for device {device}")
            for mode in (COMMON, *self.modes):
                if mode not in self.learning_rates[device]:
                    raise ValueError(f"learning_rates.{device}: no entry for {mode}")
            rungs = self.ladder[device]
            if sorted(set(rungs), reverse=True) != rungs:
                raise ValueError(f"ladder.{device}: found {rungs}, allowed: losses that fall")
        named = {"twins": self.twins or []}
        if self.ablation is not None:
            named["ablation.device"] = [self.ablation.device]
        for key, devices in named.items():
            strange = [device for device in devices if device not in self.analog_devices]
            if strange:
                allowed = ", ".join(self.analog_devices) or "none without analog devices"
                raise ValueError(f"{key}: found {strange[0]}, allowed: {allowed}")
        return self

    @property
    def with_twin(self) -> list[str]:
        """The devices that are compared with a twin without asymmetry."""
        return self.analog_devices if self.twins is None else self.twins

    @property
    def analog_devices(self) -> list[str]:
        """The devices that are calibrated."""
        return [device for device in self.devices if device != DIGITAL]

    def trained_stages(self, mode: str) -> list[int]:
        """Stage counts whose runs differ in more than their cycles.

        The weights of sequential and sync runs do not depend on the stage count, so that one run
        serves all of them, and M=1 of a schedule without a flush is one such run.
        """
        return self.stages if self.modes[mode].weights_depend_on_stages else [1]

    def trained_runs(self) -> Iterator[tuple[str, str, int, float, int]]:
        """Return device, mode, stages, rate and seed of every run that is trained.

        The twins of analog devices run without a pipeline, at the common rate.
        """
        for device in self.devices:
            for mode in self.modes:
                for stages in self.trained_stages(mode):
                    for rate in self.rates_of(device, mode):
                        for seed in self.seeds:
                            yield device, mode, stages, rate, seed
        for device in self.with_twin:
            rate = self.learning_rates[device][COMMON]
            for seed in self.seeds:
                yield device + SYMMETRIC, "sequential", 1, rate, seed

    def rates_of(self, device: str, mode: str) -> list[float]:
        """Return the rates at which a mode runs: the common one, its best, and the further ones."""
        known = self.learning_rates[device]
        return sorted({known[COMMON], known[mode], *self.rates.get(device, [])})

    def micro_batch(self, mode: str) -> int:
        """Return the samples of a micro-batch of a mode."""
        return self.modes[mode].micro_batch or self.training.micro_batch

    def run(
        self,
        device: str,
        mode: str,
        stages: int,
        seed: int,
        *,
        tile: TileConfig | None = None,
        rate: float | None = None,
        validation: bool = False,
    ) -> Run:
        """Return the configuration of one run, at a ``rate`` of the grid, the mode's best if not given.

        Raises ConfigError for a run outside the profile.
        """
        if device.removesuffix(SYMMETRIC) not in (DIGITAL, *self.devices):
            raise ConfigError(f"device: found {device}, allowed: {', '.join(self.devices)}")
        if mode not in self.modes:
            raise ConfigError(f"mode: found {mode}, allowed: {', '.join(self.modes)}")
        if not 1 <= stages <= self.model.blocks:
            raise ConfigError(f"stages: found {stages}, allowed: 1 to {self.model.blocks}")
        if (tile is None) != (device == DIGITAL):
            raise ConfigError(f"device {device} {'needs a' if tile is None else 'takes no'} tile")
        training = self.training.model_copy(update={"micro_batch": self.micro_batch(mode)})
        if rate is None:
            rate = self.learning_rates.get(device.removesuffix(SYMMETRIC), {}).get(mode)
        if validation and self.sweep is not None and self.sweep.epochs is not None:
            training = training.model_copy(update={"epochs": self.sweep.epochs})
        return checked(
            Run,
            {
                "profile": self.profile,
                "dataset": self.dataset,
                "model": self.model,
                "device": device,
                "tile": tile,
                "mode": NamedMode(name=mode, **self.modes[mode].model_dump()),
                "stages": stages,
                "split": self.splits.get(stages),
                "seed": seed,
                "learning_rate": None if rate is None else rate * self.modes[mode].rate_factor,
                "training": training,
                "compute": self.compute,
                "validation": validation,
            },
            "run",
        )


def load_profile(path: str | Path, overrides: Sequence[str] = ()) -> Profile:
    """Read and check a profile's YAML file and the devices that it names.

    ``overrides`` (``KEY=VALUE``) take the place of what the file says.

    Raises ConfigError or FileError, in one line, for a fault in either file or a missing data folder.
    """
    path = Path(path)
    profile = checked(Profile, override(read_yaml(path), overrides), path)
    if profile.analog_devices:
        known = load_devices(path.parent / profile.devices_file)
        for device in profile.analog_devices:
            if device not in known:
                raise ConfigError(
                    f"{path}: devices: found {device}, allowed: {', '.join([DIGITAL, *known])}"
                )
            decay = profile.training.optimizer.weight_decay
            if decay and known[device].mixed_precision is None:
                raise ConfigError(
                    f"{path}: training.optimizer.weight_decay: found {decay}, allowed with {device}: 0, as "
                    "it does not reach arrays that learn by pulses of their own (with mixed_precision it "
                    "does)"
                )
        if profile.ablation is not None:
            try:
                profile.ablation.refuse(known[profile.ablation.device])
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from None
    data = profile.dataset
    if data.kind == "image_folder" and not Path(str(data.path)).is_dir():
        raise ConfigError(f"{path}: dataset.path: found {data.path}, allowed: an existing folder")
    files = {"dataset.path": data.path} if data.kind == "python" else {}
    if isinstance(profile.model, PythonModel):
        files["model.file"] = profile.model.file
    for key, file in files.items():
        if not Path(str(file)).is_file():
            raise ConfigError(f"{path}: {key}: found {file}, allowed: an existing Python file")
    return profile


def load_devices(path: str | Path) -> dict[str, TileConfig]:
    """Read a devices file: a mapping of device names to tile configurations."""
    tiles = {}
    for name, entry in read_yaml(Path(path)).items():
        try:
            tiles[str(name)] = TileConfig.parse(entry)
        except TileConfigError as error:
            raise ConfigError(f"{path}: {name}: {error}") from None
    return tiles


def load_tile(path: Path) -> TileConfig:
    """Read one tile configuration, such as calibration writes."""
    try:
        return TileConfig.parse(read_yaml(path))
    except TileConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
