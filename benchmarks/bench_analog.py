"""Time a training step of ours, of AIHWKit and of digital torch, alternating in one process.

    python benchmarks/bench_analog.py [--threads 1 2] [--cases fc conv resblock64 resblock256]

A step is forward, backward and update at one batch. Ours and AIHWKit have the soft-bounds device
with spread, the default converters and noise, and the stochastic update. Each round times all three
one after the other; ratios are taken within a round, and their medians reported. Writes
results/bench/analog.json and prints it last. With ``--memory``: user and system time of a step and
peak memory, each in a process of its own.
"""

import argparse
import importlib.metadata
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from analogpipe.devices import SoftBounds
from analogpipe.layers import AnalogConv2d, AnalogLayer, AnalogLinear
from analogpipe.tile_config import TileConfig

TAU, STEP, LR = 0.6, 0.001, 0.01
TILE = TileConfig(device=SoftBounds(dw_min=STEP, w_max=TAU, w_min=-TAU))
OUT = Path("results/bench/analog.json")

Make = Callable[[int, int], nn.Module]
Step = Callable[[], None]

INPUTS = {
    "fc": (64, 784),
    "conv": (16, 3, 32, 32),
    "resblock64": (16, 64, 32, 32),
    "resblock256": (16, 256, 8, 8),
}
ROUNDS = {"fc": 31, "conv": 5, "resblock64": 5, "resblock256": 5}


class Block(nn.Module):
    """A residual block of two 3x3 convolutions, with digital batch normalisation."""

    def __init__(self, channels: int, conv: Make) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv(channels, channels), nn.BatchNorm2d(channels)
        self.conv2, self.norm2 = conv(channels, channels), nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + x)


def network(case: str, linear: Make, conv: Make) -> nn.Module:
    """The network of a case, from makers of its layers."""
    if case == "fc":
        layers = [linear(784, 256), nn.Sigmoid(), linear(256, 128), nn.Sigmoid(), linear(128, 10)]
        return nn.Sequential(*layers)
    if case == "conv":
        layers = [conv(3, 32), nn.ReLU(), conv(32, 64), nn.ReLU(), conv(64, 64), nn.ReLU()]
        return nn.Sequential(*layers)
    return Block(int(case.removeprefix("resblock")), conv)


def _step(case: str, net: nn.Module, optimiser: torch.optim.Optimizer) -> Step:
    x = torch.rand(INPUTS[case])

    def step() -> None:
        optimiser.zero_grad()
        net(x).square().mean().backward()
        optimiser.step()

    return step


def digital(case: str) -> Step:
    """A step of plain torch."""
    net = network(case, nn.Linear, lambda i, o: nn.Conv2d(i, o, 3, padding=1))
    return _step(case, net, torch.optim.SGD(net.parameters(), LR))


def ours(case: str) -> Step:
    """A step of ours; digital parameters by the same plain SGD."""
    names = (f"layer{i}" for i in range(10))
    net = network(
        case,
        lambda i, o: AnalogLinear(i, o, TILE, seed=0, name=next(names)),
        lambda i, o: AnalogConv2d(i, o, 3, TILE, padding=1, seed=0, name=next(names)),
    )
    layers = [module for module in net.modules() if isinstance(module, AnalogLayer)]
    digital_step = _step(case, net, torch.optim.SGD(net.parameters(), LR))

    def step() -> None:
        digital_step()
        for layer in layers:
            layer.update(LR)

    return step


def aihwkit(case: str) -> Step:
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
        lambda i, o: PeerConv(i, o, 3, padding=1, rpu_config=config()),
    )
    optimiser = AnalogSGD(net.parameters(), lr=LR)
    optimiser.regroup_param_groups(net)
    return _step(case, net, optimiser)


KINDS: dict[str, Callable[[str], Step]] = {"digital": digital, "aihwkit": aihwkit, "ours": ours}


def measure(case: str, threads: int) -> dict[str, Any]:
    """Time a case: medians in ms, ratios paired within rounds, and their relative quartile range."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    steps = {kind: make(case) for kind, make in KINDS.items()}
    for step in steps.values():
        for _ in range(3 if case == "fc" else 1):
            step()
    times: dict[str, list[float]] = {kind: [] for kind in steps}
    for _ in range(ROUNDS[case]):
        for kind, step in steps.items():
            inner = 1 if case != "fc" else 4 if kind == "aihwkit" else 20
            begin = time.perf_counter()
            for _ in range(inner):
                step()
            times[kind].append((time.perf_counter() - begin) / inner * 1e3)
    over_digital = [a / d for a, d in zip(times["ours"], times["digital"], strict=True)]
    over_ours = [p / a for p, a in zip(times["aihwkit"], times["ours"], strict=True)]
    quartiles = statistics.quantiles(over_digital, n=4)
    medians = {f"{kind}_ms": round(statistics.median(values), 4) for kind, values in times.items()}
    return {
        "case": case,
        "threads": threads,
        **medians,
        "ours_over_digital": round(statistics.median(over_digital), 3),
        "aihwkit_over_ours": round(statistics.median(over_ours), 3),
        "spread": round((quartiles[2] - quartiles[0]) / quartiles[1], 3),
    }


def resources(case: str, kind: str) -> dict[str, float]:
    """User and system time of a step (ms), and what its run adds to the peak memory (MiB)."""
    torch.set_num_threads(1)
    start = resource.getrusage(resource.RUSAGE_SELF)
    step = KINDS[kind](case)
    step()
    before = resource.getrusage(resource.RUSAGE_SELF)
    steps = 200 if case == "fc" else 5
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
    parser.add_argument("--memory", action="store_true", help="user and system time, and memory")
    parser.add_argument("--one", nargs=2, metavar=("CASE", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(resources(*options.one)))
        return
    if options.memory:
        for case in options.cases:
            for kind in ("digital", "ours"):
                command = [sys.executable, __file__, "--one", case, kind]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                print(case, kind, done.stdout.strip())
        return
    cases = []
    for threads in options.threads:
        for case in options.cases:
            cases.append(measure(case, threads))
            print(cases[-1], file=sys.stderr)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "aihwkit", "numpy")}
    report = json.dumps({"cases": cases, "versions": versions})
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(report + "\n")
    print(report)


if __name__ == "__main__":
    main()
