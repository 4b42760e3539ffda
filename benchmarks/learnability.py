"""What learns on arrays: devices by update rules by mapping, on a ResNet and on a decoder.

    python benchmarks/learnability.py cifar --path FOLDER [--jobs 2] [--minutes 120]
    python benchmarks/learnability.py decoder --path TEXT [--jobs 2] [--minutes 120]

``cifar``: ResNet-10 of width 16, 10,000 training and 2,000 test images, micro-batch 32, six epochs, plain
SGD; FOLDER holds CIFAR-10 as torchvision lays it out, or a copy of it as train/CLASS/* and test/CLASS/*.
``decoder``: 4 layers of width 96, context 64, 1,500 micro-batches of 16, AdamW; TEXT is a text file.

A cell is a device, an update rule and a mapping. Its rate is picked with seed 0 on held-out training data
from a grid that all cells share (accuracy of images, loss in nats of characters, at the last epoch). While
the best rate is at an edge, it is no pick and the grid of the cell is longer by one, up to MOST. Then seeds
1 to 3 run at the pick on the test data, with the same training samples. A run is a process and has a folder;
what is finished is not run again, and what was stopped goes on from its checkpoint. Start it once at a time.

On the decoder one rate drives the digital parts and the pulses of the arrays. As AdamW's rates are some 30
times smaller than those of gradients, transfers have a ``transfer_lr`` of 30, and analog SGD has SGD with
momentum 0.9 for its digital parts, and its own grid (``--analog-sgd adamw`` for AdamW all the same).

The CSV has a row for each finished run:
workload, device, rule, mapping, optimizer: the cell; mapping is ``none`` or the largest weight, omega
rate, seed: of the run, the learning rate and the seed of weights, order and noise
split: ``validation`` (to pick the rate) or ``test``
pick: of the cell: ``interior``, ``edge`` (the grid ended at MOST), ``open`` (not decided yet)
picked: whether this is the rate of the cell
train_loss, loss, accuracy: of the last epoch; nats; of ``split``
seconds: wall time of the run
"""

import argparse
import math
import multiprocessing as mp
import os
import signal
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from analogpipe.experiment import datasets
from analogpipe.files import read_yaml
from analogpipe.profile.profile import Run
from analogpipe.tile.config import TileConfig

MOST = 3
"""Rates that a grid may get beyond each end."""
SEEDS = (1, 2, 3)
FAST = {"units_in_mbatch": True, "columns": 128, "fast_lr": 0.1, "auto_scale": True}
FAST |= {"auto_granularity": 1000}
RULES: dict[str, dict[str, Any]] = {
    "mixed precision": {"mixed_precision": {}},
    "analog SGD": {},
    # AIHWKit's TTv2 presets: chopped TTv2 that never chops, read against its symmetric points
    "TTv2": {
        "transfer": {"kind": "cttv2", "in_chop_prob": 0.0, "reference": "symmetric_point", **FAST}
    },
    "AGAD": {"transfer": {"kind": "agad", **FAST}},
}


def linear(tau: float) -> dict[str, Any]:
    """Return soft bounds at -tau and tau, with 600 steps from 0 to a bound."""
    return {"device": {"kind": "soft_bounds", "w_max": tau, "w_min": -tau, "dw_min": tau / 600}}


DEVICES = {"linear tau 0.8": linear(0.8), "EcRam": {"preset": "EcRam"}}
DEVICES |= {"GokmenVlasov": {"preset": "GokmenVlasov"}}
SINGLE = {"linear tau 0.6": linear(0.6), "linear tau 4": linear(4.0)}
SINGLE |= {"ReRamSB": {"preset": "ReRamSB"}}


class Cell(NamedTuple):
    """A line of the table."""

    device: str
    rule: str
    omega: float

    @property
    def mapping(self) -> str:
        """The mapping by name."""
        return f"omega {self.omega}" if self.omega else "none"

    @property
    def name(self) -> str:
        """Name of its folder, and what ``--only`` looks in."""
        return f"{self.device}-{self.rule}-{self.mapping}".replace(" ", "_")

    def tile(self, workload: str) -> TileConfig | None:
        """Return the tile of the cell; None for digital."""
        if self.rule == "digital":
            return None
        rule = {key: dict(section) for key, section in RULES[self.rule].items()}
        if workload == "decoder" and "transfer" in rule:
            rule["transfer"]["transfer_lr"] = 30.0
        mapping = {"weight_scaling_omega": self.omega}
        return TileConfig.parse({**(DEVICES | SINGLE)[self.device], **rule, "mapping": mapping})


def cells() -> list[Cell]:
    """Return the lines of the table, those with bars first."""
    lines = [Cell("digital", "digital", 0.0)]
    lines += [Cell(device, "mixed precision", 0.6) for device in (*DEVICES, *SINGLE)]
    lines += [Cell(d, "mixed precision", 0.0) for d in DEVICES]
    rest = [rule for rule in RULES if rule != "mixed precision"]
    return lines + [Cell(d, rule, omega) for rule in rest for d in DEVICES for omega in (0.0, 0.6)]


class Study:
    """The runs of one workload, in one folder."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.workload: str = options.workload
        self.images = self.workload == "cifar"
        self.path, self.toy, self.analog_sgd = options.path, options.toy, options.analog_sgd
        self.folder = Path(options.folder) / (self.workload + ("-toy" if self.toy else ""))
        self.failed: set[Path] = set()
        self.cells = [cell for cell in cells() if options.only in cell.name]

    def optimizer(self, cell: Cell) -> dict[str, Any]:
        """Return the optimizer of digital parts and residuals."""
        if self.images:
            return {"kind": "sgd"}
        if cell.rule == "analog SGD" and self.analog_sgd == "sgd":
            return {"kind": "sgd", "momentum": 0.9}
        return {"kind": "adamw"}

    def grid(self, cell: Cell) -> range:
        """Return the first steps of the grid (see rate)."""
        adamw = self.optimizer(cell)["kind"] == "adamw"
        return range(-6, -3) if adamw else range(-3, 0)

    def network(self) -> tuple[dict[str, Any], dict[str, Any], tuple[int, int]]:
        """Return model, training, and numbers of training and of held-out or test samples."""
        if self.images:
            model = {"kind": "resnet", "layers": 10, "width": 2 if self.toy else 16}
            training = {"micro_batch": 32, "epochs": 1 if self.toy else 6}
            return model, training, (96, 64) if self.toy else (10_000, 2_000)
        model = {"kind": "decoder", "layers": 4, "width": 8 if self.toy else 96, "heads": 4}
        training = {"micro_batch": 16, "epochs": 2}
        return model, training, (128, 32) if self.toy else (12_000, 1_000)

    def run(self, cell: Cell, step: int, seed: int) -> tuple[Run, Path]:
        """Return a run and its folder, of seed 0 on validation. All train on the same samples."""
        model, training, (train, held) = self.network()
        validation = seed == 0
        data = {"path": self.path, "train": train + held * validation, "test": held}
        if not self.images:
            data |= {"kind": "text", "name": "text", "context": 16 if self.toy else 64}
        elif (Path(self.path) / "train").is_dir():
            data |= {"kind": "image_folder", "name": "cifar10-jpeg"}
        else:
            data |= {"kind": "cifar10", "name": "cifar10"}
        optimizer = self.optimizer(cell)
        run = Run.model_validate(
            {
                "profile": "learnability",
                "dataset": {**data, "validation": held},
                "model": {"name": model["kind"], **model},
                "device": cell.device.replace(" ", "-"),
                "tile": cell.tile(self.workload),
                "mode": {"name": "sequential", "schedule": "sequential"},
                "stages": 1,
                "seed": seed,
                "learning_rate": rate(step),
                "training": {**training, "optimizer": optimizer},
                "validation": validation,
            }
        )
        name = f"{optimizer['kind']}-rate{rate(step)}-seed{seed}"
        return run, self.folder / cell.name / name

    def score(self, cell: Cell, step: int) -> float | None:
        """Return how good a rate is on validation; None for a run that is not finished."""
        folder = self.run(cell, step, 0)[1]
        if folder in self.failed:
            return -math.inf
        if not (folder / "run.json").exists():
            return None
        last = pd.read_csv(folder / "metrics.csv").iloc[-1]
        value = float(last["test_accuracy"] if self.images else -last["test_loss"])
        return value if math.isfinite(float(last["test_loss"])) else -math.inf

    def pick(self, cell: Cell) -> tuple[str, int | None, list[int]]:
        """Return the state of the pick, its step, and the steps of the grid as far as it is known."""
        steps, first = list(self.grid(cell)), self.grid(cell)
        while True:
            scores = [self.score(cell, step) for step in steps]
            known = [score for score in scores if score is not None]
            if len(known) < len(steps):
                return "open", None, steps
            best = known.index(max(known))
            if 0 < best < len(steps) - 1:
                return "interior", steps[best], steps
            beyond = steps[0] - 1 if best == 0 else steps[-1] + 1
            if not first[0] - MOST <= beyond <= first[-1] + MOST:
                return "edge", steps[best], steps
            steps = sorted([*steps, beyond])

    def missing(self) -> list[tuple[Run, Path]]:
        """Return the runs that can be started now, in the order of the table."""
        runs = []
        for cell in self.cells:
            _, picked, steps = self.pick(cell)
            runs += [self.run(cell, step, 0) for step in steps if self.score(cell, step) is None]
            if picked is not None:
                runs += [self.run(cell, picked, seed) for seed in SEEDS]
        return [r for r in runs if r[1] not in self.failed and not (r[1] / "run.json").exists()]

    def table(self) -> pd.DataFrame:
        """Return a row for each finished run (columns: see above)."""
        rows = []
        for cell in self.cells:
            state, picked, steps = self.pick(cell)
            for step, seed in [(s, n) for s in steps for n in (0, *SEEDS)]:
                folder = self.run(cell, step, seed)[1]
                if not (folder / "run.json").exists():
                    continue
                last = pd.read_csv(folder / "metrics.csv").iloc[-1]
                row: dict[str, Any] = {
                    "workload": self.workload,
                    "device": cell.device,
                    "rule": cell.rule,
                }
                row |= {"mapping": cell.mapping, "optimizer": self.optimizer(cell)["kind"]}
                row |= {"rate": rate(step), "seed": seed}
                row |= {"split": "test" if seed else "validation", "pick": state}
                row |= {"picked": step == picked, "train_loss": last["train_loss"]}
                row |= {"loss": last["test_loss"], "accuracy": last["test_accuracy"]}
                rows.append({**row, "seconds": read_yaml(folder / "run.json")["wall_seconds"]})
        return pd.DataFrame(rows)


def rate(step: int) -> float:
    """Return the rate of a step: ..., 0.1 (-2), 0.3 (-1), 1 (0), 3 (1), ..."""
    return float(f"{(1, 3)[step % 2]}e{step // 2}")


def train_one(run: Run, out: Path, data: Path) -> None:
    """Train one run, in a process of its own, on one thread."""
    import torch

    from analogpipe.experiment.train import train

    torch.set_num_threads(1)
    train(run, out, data, others="replace")


def execute(study: Study, jobs: int, minutes: float) -> None:
    """Train what is missing, ``jobs`` runs side by side, until the time is up."""
    deadline = time.monotonic() + 60 * minutes
    data = study.folder / "data.safetensors"
    if not data.exists() and study.missing():
        config = study.missing()[0][0].dataset
        datasets.write(datasets.read(config), config, data)
    spawn, busy = mp.get_context("spawn"), dict[Path, Any]()
    try:
        while time.monotonic() < deadline:
            for out in [out for out, process in busy.items() if process.exitcode is not None]:
                if busy.pop(out).exitcode != 0:
                    study.failed.add(out)
            ready = [(run, out) for run, out in study.missing() if out not in busy]
            for run, out in ready[: jobs - len(busy)]:
                print(out, flush=True)
                busy[out] = spawn.Process(target=train_one, args=(run, out, data))
                busy[out].start()
            if not busy:
                break
            wait([process.sentinel for process in busy.values()], deadline - time.monotonic())
    finally:
        for process in busy.values():
            process.terminate()
            process.join()


def carry_out(study: Study, jobs: int, minutes: float, csv: Path) -> pd.DataFrame:
    """Execute a study and write the table of what is finished, which is returned; end where nothing is."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    execute(study, jobs, minutes)
    for out in sorted(study.failed):
        print(f"failed: {out}")
    table = study.table()
    if table.empty:
        sys.exit("nothing is finished")
    csv.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(csv, index=False)
    return table


def main() -> None:
    """Run what is asked for, write the CSV and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("workload", choices=["cifar", "decoder"])
    parser.add_argument("--path", required=True, help="folder of images, or text file")
    parser.add_argument(
        "--folder", default="results/manual/learnability", help="folder of the runs"
    )
    parser.add_argument("--csv", type=Path, help="the table (FOLDER/WORKLOAD.csv)")
    parser.add_argument("--only", default="", help="cells whose name has this, e.g. EcRam-mixed")
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--minutes", type=float, default=10_000, help="0: only the table")
    parser.add_argument("--analog-sgd", choices=["sgd", "adamw"], default="sgd")
    parser.add_argument("--toy", action="store_true", help="a few samples and channels, to try it")
    options = parser.parse_args()
    study = Study(options)
    csv = options.csv or study.folder.with_suffix(".csv")
    table = carry_out(study, options.jobs, options.minutes, csv)
    tests = table[table["split"] == "test"]
    keys = ["device", "rule", "mapping", "rate", "pick"]
    shown = tests if len(tests) else table
    lines = shown.groupby(keys, sort=False)[["accuracy", "loss", "seconds"]]
    print(lines.agg(["mean", "std", "count"]).to_string(float_format="%.3f"))
    print(f"{len(table)} runs, of them {len(tests)} on test data: {csv}")


if __name__ == "__main__":
    main()
