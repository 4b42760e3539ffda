"""The configuration of a profile (one YAML file) and of one run, checked before anything starts.

This module imports no torch, so that the workflow can check a configuration in a moment.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from analogpipe.checked import ConfigError, checked
from analogpipe.files import read_yaml
from analogpipe.overrides import override
from analogpipe.profile import interval
from analogpipe.profile.theory import Theory
from analogpipe.schedule.partition import PartitionError, from_sizes
from analogpipe.schedule.table import MODES
from analogpipe.strict import Name, Strict
from analogpipe.tile.config import TileConfig, TileConfigError

DIGITAL = "digital"


class Dataset(Strict):
    """Where the images come from. ``digits`` ships inside scikit-learn; the others need ``path``."""

    kind: Literal["digits", "mnist", "cifar10", "image_folder"] = Field(
        description="digits (scikit-learn's handwritten digits), mnist, cifar10 or image_folder"
    )
    name: Name = Field(description="label of the data in every path, table and figure")
    path: str | None = Field(
        default=None,
        description="folder that holds the data, relative to the working directory; mnist and cifar10 "
        "are downloaded to it by the workflow's rule `data` if they are not there",
    )
    train: int | None = Field(
        default=None, ge=1, description="use only so many training images (all when not given)"
    )
    test: int | None = Field(
        default=None, ge=1, description="use only so many test images (all when not given)"
    )
    validation: int = Field(
        ge=1, description="training images that a sweep holds out to pick the learning rate"
    )

    @model_validator(mode="after")
    def _path_where_needed(self) -> "Dataset":
        if self.kind != "digits" and self.path is None:
            raise ValueError(f"path is required for kind {self.kind}")
        return self


class Mlp(Strict):
    """Fully connected network: ``depth`` blocks of one linear layer and tanh, the last one the classifier."""

    kind: Literal["mlp"]
    name: Name = Field(description="label of the network in every path, table and figure")
    depth: int = Field(ge=2, description="number of blocks")
    width: int = Field(ge=1, description="units of a hidden layer")
    residual: bool = Field(
        default=True,
        description="a block between the first and the last adds its input to its output",
    )

    @property
    def blocks(self) -> int:
        """Number of blocks, the largest number of stages."""
        return self.depth


class Cnn(Strict):
    """Convolutional network of 8 blocks with tanh: a 5x5 convolution with stride 2, two residual 3x3
    ones, a 3x3 one with stride 2 and twice the channels, two residual ones, a hidden and a last
    linear layer."""

    kind: Literal["cnn"]
    name: Name = Field(description="label of the network in every path, table and figure")
    width: int = Field(ge=1, description="channels of the first three convolutions")

    @property
    def blocks(self) -> int:
        """Number of blocks, the largest number of stages."""
        return 8


class ResNet(Strict):
    """Residual network for small images: a 3x3 stem, four groups of basic blocks, a linear classifier.

    Batch normalisation is digital. Each basic block is cut in two, so that ``layers: 10`` makes 10
    blocks and ``layers: 18`` makes 18.
    """

    kind: Literal["resnet"]
    name: Name = Field(description="label of the network in every path, table and figure")
    layers: Literal[10, 18] = Field(description="layers with weights on the longest path")
    width: int = Field(default=64, ge=1, description="channels of the first group; doubled thrice")

    @property
    def blocks(self) -> int:
        """Number of blocks, the largest number of stages."""
        return self.layers


Model = Annotated[Mlp | Cnn | ResNet, Field(discriminator="kind")]


class Mode(Strict):
    """A way to train: a schedule, its mini-batch, and what is done against staleness."""

    schedule: Literal[MODES] = Field(description="order of events, see docs/schedules.md")  # type: ignore[valid-type]
    mini_batch: int = Field(
        default=1, ge=1, description="micro-batches between two flushes (sync schedules only)"
    )
    warm_up_epochs: int = Field(
        default=0,
        ge=0,
        description="epochs over which stages with a delay reach the full learning rate",
    )
    prediction: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="decay of the moving average that predicts the weights",
    )

    @model_validator(mode="after")
    def _options_of_schedule(self) -> "Mode":
        if self.mini_batch > 1 and not self.schedule.startswith("sync"):
            raise ValueError(f"mini_batch is for sync schedules, not {self.schedule}")
        if self.prediction is not None and self.schedule not in ("async", "async-full-duplex"):
            raise ValueError(f"prediction is for async schedules, not {self.schedule}")
        if self.warm_up_epochs and not self.schedule.startswith("async"):
            raise ValueError(f"warm_up_epochs is for async schedules, not {self.schedule}")
        return self

    @property
    def weights_depend_on_stages(self) -> bool:
        """Whether the stage count changes the weights, or only the cycles that they take."""
        return str(self.schedule).startswith("async")


def _interval(text: object) -> object:
    interval.parse(text)
    return text


class Training(Strict):
    """How long and in what portions a network is trained."""

    micro_batch: int = Field(ge=1, description="images that a stage handles in one clock")
    epochs: int = Field(ge=1, description="passes over the training images")
    decay: Literal["constant", "cosine"] = Field(
        default="constant", description="learning rate over the run"
    )
    augmentation: Literal["none", "crop-flip"] = Field(
        default="none",
        description="crop-flip: training images moved by up to 4 pixels and mirrored at random",
    )
    checkpoint_every: Annotated[str, BeforeValidator(_interval)] = Field(
        default="1 min",
        description="time or micro-batches between two checkpoints of a run: a number and s, min, h "
        "or micro-batches; the results do not depend on it",
        json_schema_extra={"pattern": interval.PATTERN},
    )


class Compute(Strict):
    """Where and how exactly the simulation computes."""

    device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="cuda: one NVIDIA GPU, with the data set in its memory"
    )
    precision: Literal["float32", "tf32", "bf16"] = Field(
        default="float32",
        description="tf32: matrix products and convolutions in TF32 (on a GPU); bf16: the digital parts "
        "in bfloat16 by autocast, arrays and their updates in float32",
    )


class Sweep(Strict):
    """The learning rates that are tried for every mode on the validation images."""

    rates: dict[Name, list[Annotated[float, Field(gt=0)]]] = Field(
        description="candidate learning rates of each device"
    )
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, description="seeds of the sweep")
    stages: int = Field(ge=1, description="stage count at which every mode is swept")
    epochs: int | None = Field(
        default=None,
        ge=1,
        description="epochs of a run of the sweep; those of training if not given",
    )


class Run(Strict):
    """Everything that one training run depends on, besides the code and the machine."""

    profile: Name
    dataset: Dataset
    model: Model
    device: Name
    tile: TileConfig | None = None
    mode: Name
    schedule: Mode
    stages: int = Field(ge=1)
    split: list[int] | None = None
    seed: int = Field(ge=0)
    learning_rate: float = Field(gt=0)
    training: Training
    compute: Compute = Compute()
    validation: bool = False


Accuracy = Annotated[float, Field(gt=0, lt=1)]
Targets = Annotated[
    Annotated[Accuracy, Tag("of all")] | Annotated[dict[Name, Accuracy], Tag("of each")],
    Discriminator(lambda value: "of each" if isinstance(value, Mapping) else "of all"),
]


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
    learning_rates: dict[Name, dict[Name, Annotated[float, Field(gt=0)]]] = Field(
        description="per device and mode, such as the sweep picks"
    )
    sweep: Sweep | None = Field(
        default=None, description="how `make sweep` looks for them; no sweep if not given"
    )
    target_accuracy: Targets = Field(
        description="test accuracy at which cycles to target are counted; of each device, where they "
        "differ. One that the first epoch reaches says nothing"
    )

    theory: Theory | None = Field(
        default=None, description="experiments on problems with known constants; none if not given"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "Profile":
        for key in ("devices", "stages", "seeds"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise ValueError(f"{key}: a value is given twice in {values}")
        largest = {"stages": max(self.stages)}
        tables: dict[str, Mapping[str, object]] = {"learning_rates": self.learning_rates}
        if self.sweep is not None:
            largest["sweep.stages"] = self.sweep.stages
            tables["sweep.rates"] = self.sweep.rates
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
        if self.modes.get("sequential") != Mode(schedule="sequential"):
            raise ValueError(
                "modes: a mode named sequential, with schedule sequential, is required: "
                "the others are compared with it"
            )
        for device in self.devices:
            for name, table in tables.items():
                if device not in table:
                    raise ValueError(f"{name}: no entry for device {device}")
            for mode in self.modes:
                if mode not in self.learning_rates[device]:
                    raise ValueError(f"learning_rates.{device}: no entry for mode {mode}")
            if isinstance(self.target_accuracy, dict) and device not in self.target_accuracy:
                raise ValueError(f"target_accuracy: no entry for device {device}")
        if self.theory is not None:
            device = self.theory.network.device
            if device not in self.analog_devices:
                allowed = ", ".join(self.analog_devices) or "none without analog devices"
                raise ValueError(f"theory.network.device: found {device}, allowed: {allowed}")
            if "async" not in self.modes:
                raise ValueError("modes: theory.network needs a mode named async")
        return self

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

    def run(
        self,
        device: str,
        mode: str,
        stages: int,
        seed: int,
        *,
        tile: TileConfig | None = None,
        learning_rate: float | None = None,
        validation: bool = False,
    ) -> Run:
        """Return the configuration of one run. Raises ConfigError for a run outside the profile."""
        if device not in (DIGITAL, *self.devices):
            raise ConfigError(f"device: found {device}, allowed: {', '.join(self.devices)}")
        if mode not in self.modes:
            raise ConfigError(f"mode: found {mode}, allowed: {', '.join(self.modes)}")
        if not 1 <= stages <= self.model.blocks:
            raise ConfigError(f"stages: found {stages}, allowed: 1 to {self.model.blocks}")
        if (tile is None) != (device == DIGITAL):
            raise ConfigError(f"device {device} {'needs a' if tile is None else 'takes no'} tile")
        training = self.training
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
                "mode": mode,
                "schedule": self.modes[mode],
                "stages": stages,
                "split": self.splits.get(stages),
                "seed": seed,
                "learning_rate": learning_rate
                if learning_rate is not None
                else self.learning_rates.get(device, {}).get(mode),
                "training": training,
                "compute": self.compute,
                "validation": validation,
            },
            "run",
        )


def load_profile(path: Path, overrides: Sequence[str] = ()) -> Profile:
    """Read and check a profile's YAML file and the devices that it names.

    ``overrides`` (``KEY=VALUE``) take the place of what the file says.

    Raises ConfigError or FileError, in one line, for a fault in either file or a missing data folder.
    """
    profile = checked(Profile, override(read_yaml(path), overrides), path)
    if profile.analog_devices:
        known = load_devices(path.parent / profile.devices_file)
        for device in profile.analog_devices:
            if device not in known:
                raise ConfigError(
                    f"{path}: devices: found {device}, allowed: {', '.join([DIGITAL, *known])}"
                )
    downloaded = profile.dataset.kind in ("mnist", "cifar10")
    if (
        profile.dataset.path is not None
        and not downloaded
        and not Path(profile.dataset.path).is_dir()
    ):
        raise ConfigError(
            f"{path}: dataset.path: found {profile.dataset.path}, allowed: an existing folder"
        )
    return profile


def load_devices(path: Path) -> dict[str, TileConfig]:
    """Read a devices file: a mapping of device names to tile configurations."""
    tiles = {}
    for name, entry in read_yaml(path).items():
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
