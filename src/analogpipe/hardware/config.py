"""The constants of an accelerator: what its arrays, digital units, memories and links take."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import Field, model_validator

from analogpipe.hardware.quantity import Quantity
from analogpipe.settings import Name, Strict

Seconds = Quantity("s", 0.5e-9, 2.5e-6)
LinePower = Quantity("W", 0.1e-6, 1e-3)


class Constant(NamedTuple):
    """One constant with its unit, where it comes from and what range is plausible."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    source: str
    meaning: str


class Hardware(Strict):
    """An accelerator: one chip for each stage, its layers in arrays of ``lines`` rows and columns.

    Times in s, energies in J, powers in W. What is read in parallel on an array is counted in
    lines: a line is a row or a column in use.
    """

    name: Name
    lines: int = Field(ge=16, le=8192, description="rows, and columns, of an array")
    read_time: Annotated[float, Quantity("s", 5e-9, 2.5e-6)] = Field(
        description="one matrix-vector product, forward or transposed"
    )
    conversion_energy: Annotated[float, Quantity("J", 0.4e-12, 350e-12)] = Field(
        description="analog to digital, for each output of a read"
    )
    read_power: Annotated[float, LinePower] = Field(
        description="drivers and amplifiers of a line during a read"
    )
    pulse_time: Annotated[float, Seconds] = Field(description="one update pulse")
    phases: Annotated[float, Quantity("1", 1, 4)] = Field(
        description="times that a pulse train is sent, for the signs of its factors"
    )
    mean_pulses: Annotated[float, Quantity("1", 1, 128)] = Field(
        description="mean length of the pulse train of one input vector"
    )
    pulse_power: Annotated[float, LinePower] = Field(
        description="drivers and translators of a line during a pulse"
    )
    scaling_operations: Annotated[float, Quantity("1", 0, 2)] = Field(
        description="digital operations for each line that scale the pulses of an input vector"
    )
    outer_product_operations: Annotated[float, Quantity("1", 1, 2)] = Field(
        description="digital operations for each weight that accumulate a gradient"
    )
    output_operations: Annotated[float, Quantity("1", 1, 16)] = Field(
        description="digital operations for each output of a read: scale, add parts, bias, activation"
    )
    digital_rate: Annotated[float, Quantity("op/s", 50e9, 8e12)] = Field(
        description="operations a second of the digital unit of an array"
    )
    operation_energy: Annotated[float, Quantity("J", 0.1e-12, 1.5e-12)] = Field(
        description="one digital operation"
    )
    value_bits: Annotated[float, Quantity("1", 4, 32)] = Field(
        description="bits of a stored or sent value"
    )
    buffer_energy: Annotated[float, Quantity("J/bit", 0.02e-12, 14e-12)] = Field(
        description="a value stored and fetched again"
    )
    link_rate: Annotated[float, Quantity("B/s", 1e9, 100e9)] = Field(
        description="link to the chip of the next stage, each way"
    )
    link_energy: Annotated[float, Quantity("J/bit", 1e-12, 51e-12)] = Field(
        description="a value sent to another chip"
    )
    verify_time: Annotated[float, Quantity("s", 5e-9, 100e-6)] = Field(
        description="reading back a line after it was programmed"
    )
    verify_iterations: Annotated[float, Quantity("1", 1, 30)] = Field(
        description="times that a line is programmed and verified when weights are copied"
    )
    static_power: Annotated[float, Quantity("W", 0, 0.1)] = Field(
        description="leakage and clock of an array with its periphery"
    )
    action_overhead: Annotated[float, Quantity("s", 0, 10e-6)] = Field(
        description="control, before each forward and each backward of a micro-batch"
    )
    sources: dict[str, str] = Field(default={}, description="where a constant comes from, by name")

    @model_validator(mode="after")
    def _sources_of_constants(self) -> "Hardware":
        for key in self.sources:
            if key not in quantities():
                raise ValueError(f"sources: found {key}, allowed: {', '.join(quantities())}")
        return self

    def constants(self) -> Iterator[Constant]:
        """Yield every constant with its unit, range, source and meaning, in order."""
        for name, quantity in quantities().items():
            meaning = type(self).model_fields[name].description or ""
            value = float(getattr(self, name))
            source = self.sources.get(name, "not given")
            limits = quantity.unit, quantity.low, quantity.high
            yield Constant(name, value, *limits, source, meaning)


def quantities() -> dict[str, Quantity]:
    """Return the unit and range of every constant, by name."""
    found = {"lines": Quantity("1", 16, 8192)}
    for name, field in Hardware.model_fields.items():
        for item in field.metadata:
            if isinstance(item, Quantity):
                found[name] = item
    return found
