"""Time a training step of ours, of AIHWKit and of digital torch, alternating in one process.

    python benchmarks/bench_analog.py [--threads 1 2] [--cases fc small conv ...] [--kinds digital mixed ...]

A step is that of training: forward, cross-entropy, backward and update at one batch. Labels are
random and new at each step, so that the loss stays where training begins, near log 10. The length of
pulse trains, on which AIHWKit's time depends, follows the learning rate: 0.05 unless ``--rates`` says
otherwise. ``decoder`` is that of the profile text-cpu, 16 windows of 64 characters, stepped by AdamW at
0.02 of that rate (AIHWKit: AnalogSGD). Ours and AIHWKit have the soft-bounds device with spread, the default
converters and noise, and the stochastic update; ``mixed`` is ours in mixed precision, ``mapped`` that at
omega 0.6. Those three form their products as ``--products`` says, and so does ``digital_too``; digital torch
is float32 always. Each round times all one after the other; ratios are taken within a round, and their
medians reported. ``cpu`` are processor times, of all threads: what a busy machine disturbs least. Writes
results/bench/analog.json and prints it last. With ``--memory``: user and system time of a step and
peak memory, each in a process of its own.
"""

import argparse
import importlib.metadata
import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analogpipe.device.parameters import SoftBounds
from analogpipe.experiment.decoder import decoder
from analogpipe.experiment.machine import keep_memory
from analogpipe.layer.base import AnalogLayer
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.layer.multiply import multiply_in
from analogpipe.tile.config import TileConfig
from analogpipe.tile.products import Format
from analogpipe.tile.sections import MappingConfig, MixedPrecisionConfig

TAU, STEP, LR = 0.6, 0.001, 0.05
TILE = TileConfig(device=SoftBounds(dw_min=STEP, w_max=TAU, w_min=-TAU))
MIXED = TILE.model_copy(update={"mixed_precision": MixedPrecisionConfig()})
MAPPED = MIXED.model_copy(update={"mapping": MappingConfig(weight_scaling_omega=0.6)})
OUT = Path("results/bench/analog.json")

Make = Callable[..., nn.Module]
"""Makes a layer from its inputs and outputs, a 3x3 convolution also from its stride."""
Step = Callable[[], None]

INPUTS = {
    "fc": (64, 784),
    "small": (8, 64),
    "one": (1, 64),
    "conv": (16, 3, 32, 32),
    "resblock64": (16, 64, 32, 32),
    "resblock256": (16, 256, 8, 8),
    "resnet": (32, 3, 32, 32),
    "decoder": (16, 64),
}
CHARACTERS = 65
ROUNDS = {"fc": 31, "small": 31, "one": 31, "decoder": 21}
INNER = {"fc": 20, "small": 10, "one": 20}
"""Steps that are timed together."""


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, with digital batch normalisation.

    Where it has more outputs than inputs it halves the image; the shortcut then takes every second
    pixel and adds channels of zeros.
    """

    def __init__(self, inputs: int, outputs: int, conv: Make) -> None:
        super().__init__()
        self.more = outputs - inputs
        self.stride = 2 if self.more else 1
        self.conv1, self.norm1 = conv(inputs, outputs, self.stride), nn.BatchNorm2d(outputs)
        self.conv2, self.norm2 = conv(outputs, outputs), nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        # every second pixel: a slice would lay its gradient out with channels first, always
        shortcut = nn.functional.avg_pool2d(x, 1, self.stride) if self.stride > 1 else x
        return torch.relu(y + nn.functional.pad(shortcut, (0, 0, 0, 0, 0, self.more)))


def network(case: str, linear: Make, conv: Make) -> nn.Module:
    """The network of a case, from makers of its layers."""
    if case == "fc":
        layers = [linear(784, 256), nn.Sigmoid(), linear(256, 128), nn.Sigmoid(), linear(128, 10)]
        return nn.Sequential(*layers)
    if case in ("small", "one"):
        hidden = [layer for _ in range(7) for layer in (linear(64, 64), nn.Tanh())]
        return nn.Sequential(*hidden, linear(64, 10))
    if case == "decoder":
        sizes = {"layers": 4, "width": 96, "heads": 4, "context": 64, "vocabulary": CHARACTERS}
        return nn.Sequential(*decoder(lambda i, o, _: linear(i, o), **sizes, seed=0))
    if case == "conv":
        layers = [conv(3, 32), nn.ReLU(), conv(32, 64), nn.ReLU(), conv(64, 64), nn.ReLU()]
        channels = 64
    elif case == "resnet":
        layers = [conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), Block(16, 16, conv)]
        layers += [Block(inputs, 2 * inputs, conv) for inputs in (16, 32, 64)]
        channels = 128
    else:
        channels = int(case.removeprefix("resblock"))
        layers = [Block(channels, channels, conv)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear(channels, 10))


def _step(
    case: str, net: nn.Module, optimiser: torch.optim.Optimizer, products: Format = "float32"
) -> Step:
    x = torch.rand(INPUTS[case])
    multiply_in(net, products)
    if products != "float32" and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)  # as its convolutions give maps
    labels = itertools.cycle(torch.randint(0, 10, (64, x.shape[0])))
    if case == "decoder":
        x, *texts = torch.randint(0, CHARACTERS, (65, *INPUTS[case]))
        labels = itertools.cycle(texts)

    def step() -> None:
        optimiser.zero_grad()
        cross_entropy(net(x), next(labels)).backward()
        optimiser.step()

    return step


def _optimiser(case: str, net: nn.Module, lr: float) -> torch.optim.Optimizer:
    if case == "decoder":
        return torch.optim.AdamW(net.parameters(), 0.02 * lr)
    return torch.optim.SGD(net.parameters(), lr)


def digital(case: str, lr: float, products: Format = "float32") -> Step:
    """A step of plain torch."""
    net = network(case, nn.Linear, lambda i, o, stride=1: nn.Conv2d(i, o, 3, stride, padding=1))
    return _step(case, net, _optimiser(case, net, lr), products)


def ours(case: str, lr: float, products: Format = "float32", tile: TileConfig = TILE) -> Step:
    """A step of ours; digital parameters by the same optimizer."""
    names = (f"layer{i}" for i in itertools.count())

    def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
        options: dict[str, Any] = {"stride": stride, "padding": 1, "seed": 0, "name": next(names)}
        return AnalogConv2d(inputs, outputs, 3, tile, **options)

    net = network(case, lambda i, o: AnalogLinear(i, o, tile, seed=0, name=next(names)), conv)
    layers = [module for module in net.modules() if isinstance(module, AnalogLayer)]
    digital_step = _step(case, net, _optimiser(case, net, lr), products)

    def step() -> None:
        digital_step()
        for layer in layers:
            layer.update(lr)

    return step


def mixed(case: str, lr: float, products: Format = "float32") -> Step:
    """A step of ours in mixed precision."""
    return ours(case, lr, products, MIXED)


def mapped(case: str, lr: float, products: Format = "float32") -> Step:
    """As before, with weights at a scale of omega 0.6."""
    return ours(case, lr, products, MAPPED)


def aihwkit(case: str, lr: float) -> Step:
    """A step of AIHWKit."""
    from aihwkit.nn import AnalogConv2d as PeerConv
    from aihwkit.nn import AnalogLinear as PeerLinear
    from aihwkit.optim import AnalogSGD
    from aihwkit.simulator.configs import SingleRPUConfig
    from aihwkit.simulator.configs.devices import SoftBoundsDevice

    def config() -> Any:
        config = SingleRPUConfig(device=SoftBoundsDevice(dw_min=STEP, w_max=TAU, w_min=-TAU))
        config.mapping.max_input_size = config.mapping.max_output_size = 0
        config.mapping.weight_scaling_omega = 0.0
        return config

    net = network(
        case,
        lambda i, o: PeerLinear(i, o, rpu_config=config()),
        lambda i, o, stride=1: PeerConv(i, o, 3, stride, padding=1, rpu_config=config()),
    )
    optimiser = AnalogSGD(net.parameters(), lr=lr)
    optimiser.regroup_param_groups(net)
    return _step(case, net, optimiser)


KINDS: dict[str, Callable[[str, float], Step]] = {
    "digital": digital,
    "aihwkit": aihwkit,
}
LOW: dict[str, Callable[[str, float, Format], Step]] = {
    "ours": ours,
    "mixed": mixed,
    "mapped": mapped,
    "digital_too": digital,
}
"""Those whose products are in either format; the last is digital torch with them."""


PAIRS = (
    ("ours", "digital"),
    ("aihwkit", "ours"),
    ("aihwkit", "digital"),
    ("mixed", "digital"),
    ("mapped", "digital"),
    ("aihwkit", "mixed"),
    ("digital_too", "digital"),
)


def measure(
    case: str, threads: int, lr: float, kinds: list[str], products: Format
) -> dict[str, Any]:
    """Time a case: medians in ms, ratios paired within rounds, and their relative quartile range."""
    keep_memory()  # as runs do
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    steps = {kind: made(kind, case, lr, products) for kind in kinds}
    for step in steps.values():
        for _ in range(3 if case in INNER else 1):
            step()
    wall: dict[str, list[float]] = {kind: [] for kind in steps}
    cpu: dict[str, list[float]] = {kind: [] for kind in steps}
    for _ in range(ROUNDS.get(case, 7)):
        for kind, step in steps.items():
            inner = INNER.get(case, 1)
            if kind == "aihwkit":
                inner = -(-inner // 5)
            begin, begin_cpu = time.perf_counter(), time.process_time()
            for _ in range(inner):
                step()
            wall[kind].append((time.perf_counter() - begin) / inner * 1e3)
            cpu[kind].append((time.process_time() - begin_cpu) / inner * 1e3)
    result: dict[str, Any] = {"case": case, "threads": threads, "learning_rate": lr}
    result["products"] = products
    for name, times in (("", wall), ("cpu_", cpu)):
        result |= {f"{name}{kind}_ms": statistics.median(times[kind]) for kind in times}
        for above, below in PAIRS:
            if not {above, below} <= {*kinds}:
                continue
            ratios = [a / b for a, b in zip(times[above], times[below], strict=True)]
            quartiles = statistics.quantiles(ratios, n=4)
            result[f"{name}{above}_over_{below}"] = quartiles[1]
            result[f"{name}{above}_over_{below}_spread"] = (
                quartiles[2] - quartiles[0]
            ) / quartiles[1]
    return {key: round(v, 4) if isinstance(v, float) else v for key, v in result.items()}


def made(kind: str, case: str, lr: float, products: Format) -> Step:
    """The step of a kind; digital torch and AIHWKit as they are."""
    return KINDS[kind](case, lr) if kind in KINDS else LOW[kind](case, lr, products)


def resources(case: str, kind: str, products: Format) -> dict[str, float]:
    """User and system time of a step (ms), and what its run adds to the peak memory (MiB)."""
    keep_memory()
    torch.set_num_threads(1)
    start = resource.getrusage(resource.RUSAGE_SELF)
    step = made(kind, case, LR, products)
    step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    steps = 200 if case in INNER else 5
    for _ in range(steps):
        step()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "user_ms": round((after.ru_utime - before.ru_utime) / steps * 1e3, 3),
        "sys_ms": round((after.ru_stime - before.ru_stime) / steps * 1e3, 3),
        "peak_mib": round(after.ru_maxrss / 1024, 1),
        "added_mib": round((after.ru_maxrss - start.ru_maxrss) / 1024, 1),
    }


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=list(INPUTS), choices=list(INPUTS))
    kinds = [*KINDS, *LOW]
    parser.add_argument("--kinds", nargs="+", default=kinds[:-1], choices=kinds)
    formats = get_args(Format)
    parser.add_argument("--products", nargs="+", default=list(formats), choices=formats)
    parser.add_argument("--rates", type=float, nargs="+", default=[LR], help="learning rates")
    parser.add_argument("--memory", action="store_true", help="user and system time, and memory")
    one = "CASE", "KIND", "PRODUCTS"
    parser.add_argument("--one", nargs=3, metavar=one, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(resources(*options.one)))
        return
    if options.memory:
        own = [kind for kind in options.kinds if kind != "aihwkit"]
        for chosen in itertools.product(options.cases, own, options.products):
            command = [sys.executable, __file__, "--one", *chosen]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(*chosen, done.stdout.strip())
        return
    cases: list[dict[str, Any]] = []
    axes = options.cases, options.rates, options.products
    for threads in options.threads:
        for case, lr, products in itertools.product(*axes):
            cases.append(measure(case, threads, lr, options.kinds, products))
            print(cases[-1], file=sys.stderr)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "aihwkit", "numpy")}
    report = json.dumps({"cases": cases, "versions": versions})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(report + "\n")
    print(report)


if __name__ == "__main__":
    main()
