"""The sections of a tile's configuration: update, read-out, transfer, mixed precision, mapping, refresh.

Torch-free.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from analogpipe.device.parameters import Device


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


class TransferBase(BaseModel):
    """What all rules of Tiki-Taka share: gradients go to a fast array, and from there to the weight.

    Its entries are those of AIHWKit's compounds; four have other names here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Device | None = None
    """Device of the fast array; that of the tile if not given."""
    every: Annotated[int, Field(ge=1)] = 1
    """Micro-batches or input vectors between transfers (``transfer_every``)."""
    units_in_mbatch: bool = True
    """Whether ``every`` counts micro-batches; else input vectors, of a convolution its patches."""
    columns: Annotated[int, Field(ge=1)] = 1
    """Columns of a transfer (``n_reads_per_transfer``)."""
    fast_lr: Annotated[float, Field(ge=0)] = 0.0
    """Learning rate of the fast array, whatever that of the training; 0 for that of the training."""
    transfer_lr: Annotated[float, Field(gt=0)] = 1.0
    """Rate of transfer ..."""
    scale_transfer_lr: bool = True
    """... times the learning rate of the training, or as it is."""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Part of a sent pulse (``forget_buffer``: of the buffer) that stays in the buffer."""
    forget_buffer: bool = False
    """Whether the rest of a buffer beyond the pulse that is sent is dropped."""
    reference: Literal["symmetric_point", "none"] = "symmetric_point"
    """What the fast array is read against: its symmetric points, measured before, or nothing."""
    reference_std: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviation of the error of these points (weight units)."""
    forward: ReadoutConfig = ReadoutConfig(noise_management="none", bound_management="none")
    """Read-out of the fast array (``transfer_forward``)."""


class TransferConfig(TransferBase):
    """Tiki-Taka: ``ttv1`` passes on what is read (AIHWKit: TransferCompound), ``ttv2`` over a digital
    buffer, in whole pulses (AIHWKit: BufferedTransferCompound, whose ``forget_buffer`` is true).
    """

    kind: Literal["ttv1", "ttv2"] = "ttv2"
    gamma: Annotated[float, Field(ge=0)] = 0.0
    """Part of the fast array in the weight: ``gamma`` times it and the slow array are read together."""
    threshold: Annotated[float, Field(gt=0)] = 1.0
    """``ttv2``: buffered pulses that send a pulse (``thres_scale``)."""


class ChopperBase(TransferBase):
    """What chopped rules share: the fast array takes gradients with signs that change."""

    units_in_mbatch: bool = False
    fast_lr: Annotated[float, Field(ge=0)] = 1.0
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    forget_buffer: bool = True
    reference: Literal["symmetric_point", "none"] = "none"
    in_chop_prob: Annotated[float, Field(ge=0, le=1)] = 0.1
    """How often the sign of a column changes, for each of its reads."""
    buffer_granularity: Annotated[float, Field(gt=0)] = 1.0
    """What a unit of the buffer stands for, in pulses of the fast array."""
    auto_granularity: Annotated[float, Field(ge=0)] = 0.0
    """If not 0: in place of one pulse, this over the ``every`` of all columns together, in pulses."""
    auto_scale: bool = False
    """Whether ``fast_lr`` is in units of what makes a mean sample fill its pulse trains."""
    auto_momentum: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Memory of the means behind ``auto_scale``, for each micro-batch."""
    correct_gradient_magnitudes: bool = False
    """Whether the transfer undoes what ``fast_lr`` does to the size of a gradient."""

    @model_validator(mode="after")
    def _scales_something(self) -> Self:
        if self.auto_scale and self.fast_lr == 0:
            raise ValueError("auto_scale needs a fast_lr above 0")
        return self


class ChoppedConfig(ChopperBase):
    """Chopped TTv2 (AIHWKit: ChoppedTransferCompound)."""

    kind: Literal["cttv2"] = "cttv2"
    in_chop_random: bool = True
    """Whether signs of columns change at random or after every ``1 / in_chop_prob`` reads."""
    out_chop_prob: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that the sign of a row changes, after each read of all columns."""


class AgadConfig(ChopperBase):
    """AGAD: reads are compared with those before the sign changed (AIHWKit: DynamicTransferCompound)."""

    kind: Literal["agad"] = "agad"
    in_chop_prob: Annotated[float, Field(gt=0, le=1)] = 0.1
    tail_weightening: Annotated[float, Field(gt=0)] = 5.0
    """How much the mean of the reads between two changes of sign stands for the last of them."""
    buffer_cap: Annotated[float, Field(ge=0)] = 0.0
    """If not 0: bound of the buffer, in pulses (1 or more; only where it is not forgotten)."""

    @model_validator(mode="after")
    def _caps_a_buffer(self) -> Self:
        if 0 < self.buffer_cap < 1 or (self.buffer_cap and self.forget_buffer):
            raise ValueError("buffer_cap needs 1 or more, and forget_buffer: false")
        return self


Transfer = Annotated[TransferConfig | ChoppedConfig | AgadConfig, Field(discriminator="kind")]


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
