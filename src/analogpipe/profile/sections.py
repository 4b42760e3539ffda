"""The sections of a profile: data, network, modes, training, compute, sweep.

No torch is imported, so that the workflow can check a configuration in a moment.
"""

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator

from analogpipe.schedule.modes import MODE, MODES
from analogpipe.settings import Name, Strict

UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}
MICRO_BATCHES = "micro-batches"
INTERVAL = (
    r"^(?=.*[1-9])([0-9]{1,9}(\.[0-9]{1,3})? (s|min|h)|[0-9]{1,9} micro-batches)$"  # not zero
)


class Dataset(Strict):
    """Where the samples come from. ``digits`` ships inside scikit-learn; the others need ``path``."""

    kind: Literal["digits", "mnist", "cifar10", "image_folder", "text", "python"] = Field(
        description="digits (scikit-learn's handwritten digits), mnist, cifar10, image_folder, text, "
        "whose characters are predicted one after the other, or python, a function of yours"
    )
    name: Name = Field(description="label of the data in every path, table and figure")
    path: str | None = Field(
        default=None,
        description="folder that holds the data (of text and python: the file), relative to the working folder; "
        "mnist, cifar10 and the Tiny Shakespeare text are downloaded to it by the workflow's rule `data` if "
        "they are not there",
    )
    context: int | None = Field(
        default=None, ge=1, description="characters of a sample (of text, and required there)"
    )
    function: str | None = Field(
        default=None,
        description="of python, and required there: a function of the file without arguments that returns "
        "training inputs and targets, and those of the test, as NumPy arrays",
    )
    train: int | None = Field(
        default=None, ge=1, description="use only so many training samples (all when not given)"
    )
    test: int | None = Field(
        default=None, ge=1, description="use only so many test samples (all when not given)"
    )
    validation: int = Field(
        ge=1, description="training samples that a sweep holds out to pick the learning rate"
    )

    @model_validator(mode="after")
    def _path_where_needed(self) -> "Dataset":
        if self.kind != "digits" and self.path is None:
            raise ValueError(f"path is required for kind {self.kind}")
        if (self.kind == "text") != (self.context is not None):
            raise ValueError("context is required for kind text, and for no other")
        if (self.kind == "python") != (self.function is not None):
            raise ValueError("function is required for kind python, and for no other")
        return self

    @property
    def source(self) -> str:
        """What the arrays of the data set depend on; which part of them is used comes later."""
        keys = {"kind", "name", "path", "context", "function"}
        return self.model_dump_json(include=keys, exclude_none=True)

    @property
    def downloaded(self) -> bool:
        """Whether the workflow fetches the data where they are not there."""
        return self.kind in ("mnist", "cifar10", "text")


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


class EvenResNet(Strict):
    """Residual network for small images that cuts into equal stages: all its 3x3 convolutions give as many
    pixels and channels.

    The first two are the stem, which halves the image, each further pair is a basic block with batch
    normalisation, which is digital. A pipeline of ``pairs`` stages has one pair in each.
    """

    kind: Literal["even-resnet"]
    name: Name = Field(description="label of the network in every path, table and figure")
    pairs: int = Field(default=8, ge=2, description="stem and basic blocks, two blocks each")
    width: int = Field(default=64, ge=1, description="channels")

    @property
    def blocks(self) -> int:
        """Number of blocks, the largest number of stages."""
        return 2 * self.pairs


class Decoder(Strict):
    """Decoder-only transformer on characters. A layer makes two blocks, attention and feed-forward."""

    kind: Literal["decoder"]
    name: Name = Field(description="label of the network in every path, table and figure")
    layers: int = Field(ge=1, description="pairs of an attention and a feed-forward block")
    width: int = Field(ge=1, description="length of the vector of a character")
    heads: int = Field(ge=1, description="attention heads, a divisor of width")

    @model_validator(mode="after")
    def _heads_divide(self) -> "Decoder":
        if self.width % self.heads:
            raise ValueError(
                f"heads: found {self.heads}, allowed: a divisor of width, {self.width}"
            )
        return self

    @property
    def blocks(self) -> int:
        """Number of blocks, the largest number of stages."""
        return 2 * self.layers


class PythonModel(Strict):
    """A network of yours: a function ``blocks(shape, classes)`` of a Python file that returns torch modules,
    which work one after the other."""

    kind: Literal["python"]
    name: Name = Field(description="label of the network in every path, table and figure")
    file: str = Field(description="the Python file, relative to the working directory")
    function: str = Field(default="blocks", description="name of the function in it")
    blocks: int = Field(ge=1, description="number of modules that it returns, the most stages")
    digital: list[str] = Field(
        default=[], description="patterns of the paths of layers that stay digital, e.g. '3.*'"
    )


Model = Annotated[
    Mlp | Cnn | ResNet | EvenResNet | Decoder | PythonModel, Field(discriminator="kind")
]


class Mode(Strict):
    """A way to train: a schedule, its mini-batch, and what is done against staleness."""

    schedule: Literal[MODES] = Field(description="order of events, see docs/schedules.md")  # type: ignore[valid-type]
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        description="samples that a stage handles in one clock; those of training if not given",
    )
    mini_batch: int = Field(
        default=1, ge=1, description="micro-batches between two flushes (sync schedules only)"
    )
    rate_factor: float = Field(
        default=1.0,
        gt=0,
        description="times the rate of the grid: n for a flush after n times as many samples moves a "
        "weight as far with each sample as without (linear scaling)",
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
        if self.mini_batch > 1 and not MODE[self.schedule].flushes:
            raise ValueError(f"mini_batch is for sync schedules, not {self.schedule}")
        mode = MODE[self.schedule]
        if self.prediction is not None and (mode.stashes or not mode.stale):
            raise ValueError(f"prediction is for async schedules, not {self.schedule}")
        if self.warm_up_epochs and not mode.stale:
            raise ValueError(f"warm_up_epochs is for async schedules, not {self.schedule}")
        return self

    @property
    def weights_depend_on_stages(self) -> bool:
        """Whether the stage count changes the weights, or only the cycles that they take."""
        return MODE[self.schedule].stale


class NamedMode(Mode):
    """A mode of a profile with the name that it has there."""

    name: Name


class Interval(NamedTuple):
    """An interval in seconds or in micro-batches; the other one is None."""

    seconds: float | None
    micro_batches: int | None


def parse_interval(text: object) -> Interval:
    """Return the interval that ``text`` (``30 s``, ``5 min``, ``1 h``, ``500 micro-batches``) means.

    Raises ValueError, in one line, for anything else.
    """
    if not isinstance(text, str) or re.fullmatch(INTERVAL.rstrip("$"), text) is None:
        raise ValueError(
            f"found {str(text)[:40]!r}, allowed: a number and s, min, h or {MICRO_BATCHES}, "
            "e.g. '5 min'"
        )
    number, unit = text.split()
    if unit == MICRO_BATCHES:
        return Interval(None, int(number))
    return Interval(float(number) * UNITS[unit], None)


def _interval(text: object) -> object:
    parse_interval(text)
    return text


class Sgd(Strict):
    """Stochastic gradient descent (torch.optim.SGD)."""

    kind: Literal["sgd"]
    momentum: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the sum of past gradients"
    )
    nesterov: bool = Field(default=False, description="look ahead along the momentum")
    weight_decay: float = Field(
        default=0.0, ge=0, description="times the weight, added to its gradient"
    )


class AdamW(Strict):
    """Adam with decoupled weight decay (torch.optim.AdamW; Loshchilov and Hutter, arXiv 1711.05101)."""

    kind: Literal["adamw"]
    beta1: float = Field(default=0.9, ge=0, lt=1, description="decay of the mean of gradients")
    beta2: float = Field(
        default=0.999, ge=0, lt=1, description="decay of the mean of their squares"
    )
    eps: float = Field(default=1e-8, gt=0, description="added to the root of that mean")
    weight_decay: float = Field(
        default=0.0, ge=0, description="part of the weight taken off at each step, times the rate"
    )


Optimizer = Annotated[Sgd | AdamW, Field(discriminator="kind")]


class Training(Strict):
    """How long and in what portions a network is trained."""

    micro_batch: int = Field(ge=1, description="samples that a stage handles in one clock")
    epochs: int = Field(ge=1, description="passes over the training samples")
    optimizer: Optimizer = Field(
        default=Sgd(kind="sgd"),
        description="of the digital parameters, one for each stage: biases, norms, digital layers",
    )
    decay: Literal["constant", "cosine"] = Field(
        default="constant", description="learning rate over the run"
    )
    augmentation: Literal["none", "crop-flip"] = Field(
        default="none",
        description="crop-flip: training images moved by up to 4 pixels and mirrored at random",
    )
    readings: int = Field(
        default=10,
        ge=1,
        description="how often in an epoch the training loss is read, for the ladder of losses",
    )
    reading_samples: int = Field(
        default=256, ge=1, description="training samples that it is read on, the same ones always"
    )
    checkpoint_every: Annotated[str, BeforeValidator(_interval)] = Field(
        default="1 min",
        description="time or micro-batches between two checkpoints of a run: a number and s, min, h "
        "or micro-batches; the results do not depend on it",
        json_schema_extra={"pattern": INTERVAL},
    )


class Compute(Strict):
    """Where and how exactly the simulation computes.

    ``products`` is the format of the matrix products and convolutions alone, in arrays and digital layers
    alike; all else, sums included, is float32. ``precision`` is torch's own choice for a GPU (tf32) and for
    digital layers with all that is between them (bf16: activations, too): one of both can be set.
    """

    device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="cuda: one NVIDIA GPU, with the data set in its memory"
    )
    precision: Literal["float32", "tf32", "bf16"] = Field(
        default="float32",
        description="tf32: matrix products and convolutions in TF32 (on a GPU); bf16: the digital parts "
        "in bfloat16 by autocast, arrays and their updates in float32",
    )
    products: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="bfloat16: factors of matrix products and convolutions rounded to 8 bits, and summed in "
        "float32, in reads, updates and digital layers, where they are large enough to gain (docs/speed.md)",
    )

    @model_validator(mode="after")
    def _one_choice(self) -> "Compute":
        if self.products != "float32" and self.precision != "float32":
            raise ValueError(
                f"products: found {self.products} with precision {self.precision}, allowed: one of both, "
                "the other float32"
            )
        return self


class Sweep(Strict):
    """The grid of learning rates, for every mode, judged by training samples that are held out."""

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
