"""Configuration of an analog tile: device, update and read-out. Torch-free."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from analogpipe.device.parameters import Device, Ideal, OneSided, SoftBounds
from analogpipe.device.presets import PRESETS
from analogpipe.files import excerpt


class TileConfigError(ValueError):
    """A tile configuration that cannot be used."""


class UpdateConfig(BaseModel):
    """How a wanted change becomes pulses (AIHWKit: UpdateParameters; same names and defaults)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: Literal["mean", "pulsed", "pulse_train"] = "pulsed"
    desired_bl: Annotated[int, Field(ge=1)] = 31
    """Longest pulse train of one sample."""
    update_management: bool = True
    """Balance the pulse probabilities of rows and columns by the maxima of |x| and |e|."""
    update_bl_management: bool = True
    """Shorten the pulse train of a sample to what it needs."""

    @property
    def fires_samples(self) -> bool:
        """Whether pulses are to be found sample by sample, not from sums over the samples."""
        return self.rule == "pulse_train" or not self.update_management


class Levels(NamedTuple):
    """The numbers of a read: inputs count levels of the DAC, outputs those of the ADC. Without a
    converter (step 0) they are in normalised units."""

    inp_step: float
    out_step: float
    inp_bound: float
    """0 where the scale keeps inputs within it."""
    out_bound: float
    inp_noise: float
    out_noise: float
    to_output: float
    """Output levels to the product of an input level and a weight."""


class ReadoutConfig(BaseModel):
    """Converters and noise of one matrix-vector product (AIHWKit: IOParameters; same names and
    defaults).

    Resolutions are fractions of the full range (-bound to bound); 0 turns a quantisation, a bound
    or a noise off.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    perfect: bool = False
    inp_bound: Annotated[float, Field(ge=0)] = 1.0
    inp_res: Annotated[float, Field(ge=0)] = 1 / 126
    inp_noise: Annotated[float, Field(ge=0)] = 0.0
    out_bound: Annotated[float, Field(ge=0)] = 12.0
    out_res: Annotated[float, Field(ge=0)] = 1 / 510
    out_noise: Annotated[float, Field(ge=0)] = 0.06
    noise_management: Literal["none", "abs_max"] = "abs_max"
    bound_management: Literal["none", "iterative"] = "iterative"
    max_bm_factor: Annotated[int, Field(ge=1)] = 1000
    max_bm_res: Annotated[float, Field(ge=0)] = 0.25
    """The input is halved again while it has been divided by no more than ``max_bm_factor`` and by
    no more than ``max_bm_res`` over the input step."""

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, with changes; its levels are its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("levels", None)
        return copied

    def factors(self) -> Iterator[float]:
        """Return by what bound management divides the input, from one attempt to the next."""
        factor, limit = 1.0, float(self.max_bm_factor)
        if self.levels.inp_step > 0:
            limit = min(limit, self.max_bm_res / self.levels.inp_step)
        while factor <= limit:
            factor *= 2
            yield factor

    @cached_property
    def levels(self) -> Levels:
        """The same in levels of the converters."""
        inp_step = 2 * self.inp_bound * self.inp_res
        out_step = 2 * self.out_bound * self.out_res
        inp, out = inp_step or 1.0, out_step or 1.0
        clips = self.noise_management == "none" or self.inp_bound < 1
        return Levels(
            inp_step=inp_step,
            out_step=out_step,
            inp_bound=self.inp_bound / inp if clips else 0.0,
            out_bound=self.out_bound / out,
            inp_noise=self.inp_noise / inp,
            out_noise=self.out_noise / out,
            to_output=inp / out,
        )


class TransferConfig(BaseModel):
    """Tiki-Taka: gradients go to a fast array and from there to the weight.

    ``ttv1`` passes on what is read (AIHWKit: TransferCompound with ``gamma = 0``), ``ttv2`` over a
    digital buffer, in whole pulses (AIHWKit: BufferedTransferCompound).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ttv1", "ttv2"] = "ttv2"
    device: Device | None = None
    """Device of the fast array; that of the tile if not given."""
    every: Annotated[int, Field(ge=1)] = 1
    """Micro-batches between transfers (``transfer_every``, ``units_in_mbatch``)."""
    columns: Annotated[int, Field(ge=1)] = 1
    """Columns of a transfer (``n_reads_per_transfer``)."""
    fast_lr: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate of the fast array; 0 for that of the training."""
    transfer_lr: Annotated[float, Field(gt=0)] = 1.0
    """Rate of transfer, times the learning rate of the training (``scale_transfer_lr``)."""
    threshold: Annotated[float, Field(gt=0)] = 1.0
    """``ttv2``: buffered pulses that send a pulse (``thres_scale``)."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """``ttv2``: part of a sent pulse that stays in the buffer."""
    forward: ReadoutConfig = ReadoutConfig(noise_management="none", bound_management="none")
    """Read-out of the fast array."""


class MixedPrecisionConfig(BaseModel):
    """Mixed precision: the gradient is formed and summed in digital, and whole pulses are sent
    (AIHWKit: MixedPrecisionCompound; same names and defaults).

    The array's own pulses are as in ``update``, whose ``desired_bl`` is the most that an element
    takes in one transfer; ``mean`` sends the expected pulses without noise.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    transfer_every: Annotated[int, Field(ge=1)] = 1
    """Updates from one programming of the array to the next."""
    n_rows_per_transfer: Annotated[int, Field(ge=-1)] = -1
    """Rows (outputs) that are programmed, one after another in turn; -1 for all."""
    random_row: bool = False
    """Begin at a random row, not where the last transfer ended."""
    transfer_lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """Pulses sent for each that is taken off the residual."""
    granularity: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Part of the residual that makes a pulse, in weights of the array; 0 for the device's own."""
    n_x_bins: Annotated[int, Field(ge=0)] = 0
    """Levels of the inputs in the gradient; 0 for no quantisation."""
    n_d_bins: Annotated[int, Field(ge=0)] = 0
    """Levels of the errors in the gradient; 0 for no quantisation."""
    stoc_round_x: bool = True
    stoc_round_d: bool = True
    """Round to levels at random, right on average."""

    @model_validator(mode="after")
    def _has_levels(self) -> Self:
        for key in ("n_x_bins", "n_d_bins"):
            if getattr(self, key) == 1:
                raise ValueError(f"{key}: found 1, allowed: 0, or 2 and more")
        if self.n_rows_per_transfer == 0:
            raise ValueError("n_rows_per_transfer: found 0, allowed: -1 for all, or 1 and more")
        return self


class MappingConfig(BaseModel):
    """How weights lie on arrays: scales, and the size of an array (AIHWKit: MappingParameter; same
    names, and defaults but for the sizes)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight_scaling_omega: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Where the largest weight lies in the array; 0 for weights as they are."""
    weight_scaling_columnwise: bool = False
    """A scale for each output, not one for the array."""
    weight_scaling_lr_compensation: bool = False
    """Take the mean scale out of the errors of an update and put it into the learning rate."""
    learn_out_scaling: bool = False
    """Multiply outputs by a digital parameter that is trained."""
    out_scaling_columnwise: bool = False
    """One such parameter for each output, not one for the array."""
    max_input_size: Annotated[int, Field(ge=0)] = 0
    """Columns of an array, of which a larger layer has several; 0 for any number (AIHWKit: 512)."""
    max_output_size: Annotated[int, Field(ge=0)] = 0
    """Rows of an array; as before."""

    def fits(self, outputs: int, inputs: int) -> bool:
        """Return whether a matrix fits one array."""
        sizes = (outputs, self.max_output_size), (inputs, self.max_input_size)
        return all(not most or size <= most for size, most in sizes)


class RefreshConfig(BaseModel):
    """When and how a pair of one-sided elements is refreshed (AIHWKit: OneSidedUnitCell)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    every: Annotated[int, Field(ge=1)] = 1
    """Micro-batches between refreshes (``refresh_every``, ``units_in_mbatch``)."""
    upper: Annotated[float, Field(ge=0)] = 0.75
    """A pair is refreshed where one element is read above ``upper`` times ``w_max`` ..."""
    lower: Annotated[float, Field(ge=0)] = 0.25
    """... and the other above ``lower`` times ``w_max`` (``refresh_upper_thres``, ``_lower_``)."""
    forward: ReadoutConfig = ReadoutConfig()
    """Read-out of the elements (``refresh_forward``)."""
    desired_bl: Annotated[int, Field(ge=1)] = 31
    """Longest pulse train that writes a difference back (``refresh_update``)."""


PRESET_READOUT = ReadoutConfig(out_bound=20.0, out_noise=0.1)
"""Read-out of AIHWKit's preset configurations (PresetIOParameters)."""


def _backward() -> ReadoutConfig:
    return ReadoutConfig(bound_management="none")


class TileConfig(BaseModel):
    """Everything that makes an array: device, update, read-out forward and backward."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Device = SoftBounds()
    update: UpdateConfig = UpdateConfig()
    forward: ReadoutConfig = ReadoutConfig()
    backward: ReadoutConfig = Field(default_factory=_backward)
    transfer: TransferConfig | None = None
    """Tiki-Taka instead of updates of the weight itself."""
    refresh: RefreshConfig | None = None
    """Refresh of one-sided pairs; without it they saturate."""
    mixed_precision: MixedPrecisionConfig | None = None
    """Whole pulses from a digital residual instead of updates of the weight itself."""
    mapping: MappingConfig = MappingConfig()
    """Scales and sizes of arrays."""

    @model_validator(mode="after")
    def _sends_pulses(self) -> "TileConfig":
        if self.mixed_precision is not None and isinstance(self.device, Ideal):
            raise ValueError("mixed_precision needs a pulsed device, found ideal")
        if self.mixed_precision is not None and self.transfer is not None:
            raise ValueError("mixed_precision and transfer are two rules, allowed: one")
        return self

    @model_serializer(mode="wrap")
    def _newer_where_set(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out sections that are not used and did not always exist: a tile keeps its record."""
        dumped: dict[str, Any] = dump(self)
        if self.mixed_precision is None:
            dumped.pop("mixed_precision", None)
        if self.mapping == MappingConfig():
            dumped.pop("mapping", None)
        return dumped

    @model_validator(mode="after")
    def _transfers_pulses(self) -> "TileConfig":
        if self.transfer is not None and isinstance(self.transfer.device or self.device, Ideal):
            raise ValueError("a transfer needs pulsed devices, found ideal")
        devices = self.device, self.transfer and self.transfer.device
        if self.transfer is not None and any(isinstance(one, OneSided) for one in devices):
            raise ValueError("a transfer between one_sided devices is not offered")
        return self

    @model_validator(mode="after")
    def _refreshes_pairs(self) -> "TileConfig":
        if self.refresh is not None and not isinstance(self.device, OneSided):
            raise ValueError(f"a refresh needs a one_sided device, found {self.device.kind}")
        return self

    @classmethod
    def parse(cls, data: object) -> "TileConfig":
        """Validate ``data`` (a mapping as read from YAML).

        With an entry ``preset``, the tile is the one of that name in :mod:`analogpipe.device.presets`,
        with the other entries in place of its own.

        Raises:
            TileConfigError: one line that names the first wrong entry.
        """
        if isinstance(data, dict) and "preset" in data:
            data = dict(data)
            name = data.pop("preset")
            if not isinstance(name, str) or name not in PRESETS:
                allowed = ", ".join(PRESETS)
                raise TileConfigError(f"preset: no preset {excerpt(name)}; allowed: {allowed}")
            preset = PRESETS[name]
            backward = PRESET_READOUT.model_copy(update={"bound_management": "none"})
            own: dict[str, object] = {
                "device": preset,
                "forward": PRESET_READOUT,
                "backward": backward,
            }
            if isinstance(preset, OneSided):
                own["refresh"] = RefreshConfig(forward=PRESET_READOUT)
            data = own | data
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "tile"
            raise TileConfigError(
                f"{where}: {first['msg']}, found {excerpt(first['input'])}"
            ) from None

    def dump(self) -> str:
        """Return the tile as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def digital() -> TileConfig:
    """Return the tile without any analog effect: ideal device, perfect read-out."""
    perfect = ReadoutConfig(perfect=True)
    return TileConfig(device=Ideal(), forward=perfect, backward=perfect)


def preset(name: str, **settings: object) -> TileConfig:
    """Return the tile of a published device (:mod:`analogpipe.device.presets`), e.g. ``ReRamSB``.

    ``settings`` (update, forward, backward, transfer, refresh, mixed_precision, mapping) take the
    place of the preset's own.
    Raises TileConfigError.
    """
    return TileConfig.parse({**settings, "preset": name})
