"""From counted events to seconds and joules, of a layer, a stage and its actions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from analogpipe.hardware import events
from analogpipe.hardware.config import Hardware
from analogpipe.hardware.events import Events
from analogpipe.hardware.layers import Layer, Stage
from analogpipe.hardware.rules import Rule


@dataclass(frozen=True)
class Cost:
    """Time and energy of an action; they add up."""

    seconds: float = 0.0
    joules: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        """Do one after the other."""
        return Cost(self.seconds + other.seconds, self.joules + other.joules)


@dataclass(frozen=True)
class StageCost:
    """What a micro-batch costs on one stage, by action; ``program`` once for each update."""

    forward: Cost
    backward: Cost
    update: Cost
    accumulate: Cost
    program: Cost
    arrays: int

    @property
    def joules(self) -> float:
        """Energy of a micro-batch without ``program``."""
        actions = (self.forward, self.backward, self.update, self.accumulate)
        return sum(action.joules for action in actions)


def streamed(counted: Events, hardware: Hardware) -> Cost:
    """Cost of reads whose digital work and messages run beside them, vector by vector."""
    seconds = max(
        counted.reads * hardware.read_time,
        counted.operations / hardware.digital_rate,
        counted.sent / 8 / hardware.link_rate,
    )
    return Cost(seconds, joules(counted, hardware))


def serial(counted: Events, hardware: Hardware) -> Cost:
    """Cost of events that wait for each other, as in an update."""
    seconds = (
        counted.reads * hardware.read_time
        + counted.pulses * hardware.pulse_time
        + counted.verifies * hardware.verify_time
        + counted.operations / hardware.digital_rate
        + counted.sent / 8 / hardware.link_rate
    )
    return Cost(seconds, joules(counted, hardware))


def joules(counted: Events, hardware: Hardware) -> float:
    """Energy of events, without what arrays draw while idle."""
    reading = counted.line_reads * hardware.read_time
    reading += counted.line_verifies * hardware.verify_time
    return (
        counted.conversions * hardware.conversion_energy
        + reading * hardware.read_power
        + counted.line_pulses * hardware.pulse_time * hardware.pulse_power
        + counted.all_operations * hardware.operation_energy
        + counted.buffered * hardware.buffer_energy
        + counted.sent * hardware.link_energy
    )


def update(layer: Layer, samples: int, rule: Rule, hardware: Hardware) -> Cost:
    """Cost of the update of one layer for a micro-batch, without ``program``."""
    counted = events.update(layer, samples, rule, hardware)
    return serial(counted + events.accumulate(layer, samples, rule, hardware), hardware)


def copy(
    layer: Layer,
    hardware: Hardware,
    *,
    iterations: float | None = None,
    slots: float = 1,
    reads: int = 1,
) -> Cost:
    """Cost of copying the weights of a layer to other arrays by program and verify, as
    ``events.copy`` counts it."""
    counted = events.copy(layer, hardware, iterations=iterations, slots=slots, reads=reads)
    return serial(counted, hardware)


def exchange(
    layers: Sequence[Layer], hardware: Hardware, *, iterations: float, slots: float, reads: int
) -> Cost:
    """Cost, for one replica of a network, of bringing replicas together by copies.

    Its layers are copied side by side. It sends its weights and receives their mean, over the link;
    who takes the mean costs nothing.
    """
    own = [layer for layer in layers if layer.kind != "attention"]
    how = {"iterations": iterations, "slots": slots}
    copies = [copy(layer, hardware, **how, reads=reads) for layer in own]
    weights = sum(layer.inputs * layer.outputs for layer in own)
    sent = serial(Events(sent=2 * weights * hardware.value_bits), hardware)
    return sent + Cost(max(c.seconds for c in copies), sum(c.joules for c in copies))


def stage(what: Stage, samples: int, rule: Rule, hardware: Hardware) -> StageCost:
    """Cost of a micro-batch of ``samples`` on a stage, whose layers work one after another.

    The message to the next stage streams out during the reads of the last layer, that of the error
    during those of the first one.
    """
    forward = [events.forward(layer, samples, hardware) for layer in what.layers]
    forward[-1] += events.message(what.sent, samples, hardware)
    backward = [events.backward(layer, samples, hardware) for layer in what.layers]
    backward[0] += events.message(what.returned, samples, hardware)
    overhead = Cost(hardware.action_overhead)
    return StageCost(
        forward=_sum([overhead, *(streamed(counted, hardware) for counted in forward)]),
        backward=_sum([overhead, *(streamed(counted, hardware) for counted in backward)]),
        update=_sum(
            serial(events.update(layer, samples, rule, hardware), hardware) for layer in what.layers
        ),
        accumulate=_sum(
            serial(events.accumulate(layer, samples, rule, hardware), hardware)
            for layer in what.layers
        ),
        program=_sum(
            serial(events.program(layer, rule, hardware), hardware) for layer in what.layers
        ),
        arrays=sum(
            layer.tiling(hardware.lines).arrays * layer.replicas * rule.arrays
            for layer in what.layers
            if layer.kind != "attention"
        ),
    )


def _sum(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost())
