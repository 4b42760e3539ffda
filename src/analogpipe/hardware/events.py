"""What training makes happen on the arrays of a layer, counted: for time and for energy.

Arrays of a layer work in parallel, so its time is that of the busiest one, and its energy that of
all. V is the number of input vectors of a micro-batch: samples times positions. Formulas:
docs/hardware.md.
"""

from dataclasses import dataclass, fields, replace
from math import ceil

from analogpipe.hardware.config import Hardware
from analogpipe.hardware.layers import Layer
from analogpipe.hardware.rules import Rule


@dataclass(frozen=True)
class Events:
    """Counts of events; they add up.

    On the busiest array, one after another: ``reads``, ``pulses`` (slots of a pulse train, sent or
    not), ``verifies`` and digital ``operations``. On all arrays: ``conversions`` of outputs, lines
    in use times reads, pulses and verifies, ``all_operations``; bits that are ``buffered`` (stored
    and fetched) and ``sent`` to another chip.
    """

    reads: float = 0
    pulses: float = 0
    verifies: float = 0
    operations: float = 0
    conversions: float = 0
    line_reads: float = 0
    line_pulses: float = 0
    line_verifies: float = 0
    all_operations: float = 0
    buffered: float = 0
    sent: float = 0

    def __add__(self, other: "Events") -> "Events":
        """Add the counts one by one."""
        return Events(
            **{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)}
        )


def _lines(layer: Layer, hardware: Hardware) -> int:
    """Lines in use on all arrays of one replica: each input once for every row of arrays."""
    tiling = layer.tiling(hardware.lines)
    return tiling.across_outputs * layer.inputs + tiling.across_inputs * layer.outputs


def _read(layer: Layer, samples: int, hardware: Hardware, transposed: bool) -> Events:
    tiling, lines = layer.tiling(hardware.lines), _lines(layer, hardware)
    outputs, all_outputs = (
        (tiling.inputs, tiling.across_outputs * layer.inputs)
        if transposed
        else (tiling.outputs, tiling.across_inputs * layer.outputs)
    )
    vectors = samples * layer.positions
    serial = ceil(vectors / layer.replicas)
    return Events(
        reads=serial,
        operations=serial * hardware.output_operations * outputs,
        conversions=vectors * all_outputs,
        line_reads=vectors * lines,
        all_operations=vectors * hardware.output_operations * all_outputs,
    )


def _scores(layer: Layer, samples: int, operations: int) -> Events:
    """Return the digital products of attention: so many operations times tokens² times width."""
    total = operations * samples * layer.positions**2 * layer.inputs
    return Events(operations=total / layer.replicas, all_operations=total)


def forward(layer: Layer, samples: int, hardware: Hardware) -> Events:
    """Count the forward pass of a micro-batch: V reads, and what waits for the backward pass."""
    stored = Events(buffered=samples * layer.stored_values * hardware.value_bits)
    if layer.kind == "attention":
        return _scores(layer, samples, 4) + stored
    return _read(layer, samples, hardware, transposed=False) + stored


def backward(layer: Layer, samples: int, hardware: Hardware) -> Events:
    """Count the backward pass: V transposed reads, unless nobody needs the error of the input."""
    if layer.kind == "attention":
        return _scores(layer, samples, 8)
    errors = samples * layer.positions * layer.outputs * hardware.value_bits
    read = _read(layer, samples, hardware, transposed=True) if layer.returns_error else Events()
    return replace(read, buffered=errors)


def update(layer: Layer, samples: int, rule: Rule, hardware: Hardware) -> Events:
    """Count the pulses of a micro-batch, and of Tiki-Taka the transfers; zero for mixed precision.

    Mixed precision accumulates (``accumulate``) and programs (``program``) instead.
    """
    if layer.kind == "attention" or not rule.pulsed:
        return Events()
    tiling, lines = layer.tiling(hardware.lines), _lines(layer, hardware)
    copies = layer.replicas if layer.identical else 1  # each of them learns from all vectors
    vectors = samples * layer.positions
    serial = ceil(vectors * copies / layer.replicas)
    train = hardware.mean_pulses if layer.mean_pulses is None else layer.mean_pulses
    slots = hardware.phases * train
    scaling = hardware.scaling_operations
    counted = Events(
        pulses=serial * slots,
        operations=serial * scaling * (tiling.inputs + tiling.outputs),
        line_pulses=copies * vectors * slots * lines,
        all_operations=copies * vectors * scaling * lines,
    )
    if not rule.tiki_taka:
        return counted
    # A buffered rule sends single pulses where the buffer is full; ttv1 sends a train (AIHWKit).
    slots = hardware.phases * (train if rule.kind == "ttv1" else 1)
    serial_transfers = rule.transfers(serial)
    if rule.units_in_mbatch:
        all_transfers = layer.replicas * rule.transfers(vectors)
    else:
        all_transfers = rule.transfers(copies * vectors)
    outputs = tiling.across_inputs * layer.outputs
    return counted + Events(
        reads=serial_transfers,
        pulses=serial_transfers * slots,
        operations=serial_transfers * rule.transfer_operations * tiling.outputs,
        conversions=all_transfers * outputs,
        line_reads=all_transfers * lines,
        line_pulses=all_transfers * slots * lines,
        all_operations=all_transfers * rule.transfer_operations * outputs,
    )


def accumulate(layer: Layer, samples: int, rule: Rule, hardware: Hardware) -> Events:
    """Count the digital outer products of mixed precision: V (2 N_in N_out + N_in) operations."""
    if layer.kind == "attention" or rule.pulsed:
        return Events()
    tiling = layer.tiling(hardware.lines)
    vectors = samples * layer.positions
    each = hardware.outer_product_operations
    matrix = each * tiling.inputs * tiling.outputs + tiling.inputs
    whole = each * layer.inputs * layer.outputs + tiling.across_outputs * layer.inputs
    return Events(
        operations=ceil(vectors / layer.replicas) * matrix, all_operations=vectors * whole
    )


def program(layer: Layer, rule: Rule, hardware: Hardware) -> Events:
    """Count the programming of mixed precision at an update: one pulse for each row of an array."""
    if layer.kind == "attention" or rule.pulsed:
        return Events()
    rows = layer.tiling(hardware.lines).outputs
    lines = layer.replicas * _lines(layer, hardware)
    return Events(pulses=rows, line_pulses=rows * lines)


def copy(
    layer: Layer,
    hardware: Hardware,
    *,
    iterations: float | None = None,
    slots: float = 1,
    reads: int = 1,
) -> Events:
    """Count the copy of a weight matrix to other arrays: read row by row, program and verify.

    All arrays of the matrix are copied at the same time, each row ``iterations`` times, those of the
    hardware if not given, with ``slots`` of a pulse train in the mean. What is read is the mean of
    ``reads``.
    """
    if layer.kind == "attention":
        return Events()
    tiling, lines = layer.tiling(hardware.lines), _lines(layer, hardware)
    rows, outputs = tiling.inputs, tiling.across_inputs * layer.outputs
    rounds = rows * (hardware.verify_iterations if iterations is None else iterations)
    return Events(
        reads=rows * reads,
        pulses=rounds * slots,
        verifies=rounds * reads,
        conversions=(rows + rounds) * reads * outputs,
        line_reads=rows * reads * lines,
        line_pulses=rounds * slots * lines,
        line_verifies=rounds * reads * lines,
    )


def message(values: int, samples: int, hardware: Hardware) -> Events:
    """Count the values of a micro-batch that go to another chip."""
    return Events(sent=values * samples * hardware.value_bits)
