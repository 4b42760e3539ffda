"""The MNIST cells of arXiv 2406.12774, Figure 5, without a pipeline: here, or with AIHWKit.

    python benchmarks/published_table.py --path FOLDER [--epochs 80] [--seeds 3] [--engine ours|aihwkit]
        [--read-out scripts|text] [--only fcn-sgd] [--jobs 2] [--minutes 600]

FOLDER holds MNIST as torchvision lays it out. FCN 784-256-128-10, sigmoid, batch 10, and a CNN of two 5x5
convolutions, tanh, batch 8; digital SGD, analog SGD, Tiki-Taka v1; soft bounds with reference at +-tau,
a learnable scale after each array, biases digital. Arrays have 512 lines at most (AIHWKit's default), so
that the 784 inputs of the FCN lie on two arrays with a scale each. ``scripts``: AIHWKit's default read-out;
``text``: output range 20, noise 0.1, 8 bits (step 1/127) of inputs and outputs.

Rates are those of the paper's scripts (NeurIPS-2024/S4.1 and S4.2 of github.com/Zhaoxian-Wu/analog-training)
as they are: 0.1 digital, 0.05 analog, 0.01 for the fast array, a tenth from epoch 36 on and a hundredth
from 71 on (not of the fast array). Their loss is the mean over the batch, so that the error of a
sample has the factor 1 / batch before any update sees it. AIHWKit then pulses sample by sample at
``lr e x`` and divides by nothing else, and so do layers here (``update(lr)`` takes errors as they come; only
a pipeline divides, by the micro-batches between two updates): ``lr`` is the same number on both sides.
The scripts fix the seed of the elements (construction_seed 10, also within Tiki-Taka, whose two arrays
have it both), and so does ``aihwkit``; with ``ours`` each array has elements of its own, of the run's seed.

A cell and seed is a process and a JSON file in ``--folder``, with a row for each epoch; a run that was stopped
goes on from its last epoch. AIHWKit's noise does not resume to the same numbers, ours does. In the end a CSV:

engine, read_out, network, rule, tau, seed: of the run (digital: no tau, read-out or engine of its own)
epochs: of the run, finished or not;  finished: whether it is
accuracy, best, train_loss: test accuracy of the last epoch in %, of the best epoch, and training loss
published, published_std: of the paper, in %, after 80 epochs
seconds: wall time
"""

import argparse
import json
import multiprocessing as mp
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import analogpipe as ap
from analogpipe.experiment import data
from analogpipe.files import write_json
from analogpipe.profile.sections import Dataset
from analogpipe.seeds import generator

PUBLISHED = {
    ("fcn", "digital", 0.0): (98.15, 0.04),
    ("fcn", "sgd", 0.70): (11.35, 0.00),
    ("fcn", "sgd", 0.78): (97.71, 0.63),
    ("fcn", "sgd", 0.80): (97.78, 0.36),
    ("fcn", "ttv1", 0.70): (97.64, 0.17),
    ("fcn", "ttv1", 0.78): (97.62, 0.05),
    ("fcn", "ttv1", 0.80): (97.50, 0.11),
    ("cnn", "digital", 0.0): (99.16, 0.08),
    ("cnn", "sgd", 0.6): (88.99, 0.89),
    ("cnn", "sgd", 0.7): (92.15, 0.48),
    ("cnn", "sgd", 0.8): (93.45, 0.46),
    ("cnn", "ttv1", 0.6): (98.84, 0.07),
    ("cnn", "ttv1", 0.7): (98.87, 0.04),
    ("cnn", "ttv1", 0.8): (98.86, 0.07),
}
BATCH = {"fcn": 10, "cnn": 8}
RATE, DIGITAL_RATE, FAST_RATE = 0.05, 0.1, 0.01
DECAY_EVERY = 35
TEXT = {"inp_res": 1 / 254, "out_res": 1 / 254, "out_bound": 20.0, "out_noise": 0.1}


class Cell(NamedTuple):
    """One run of the table."""

    network: str
    rule: str
    tau: float
    seed: int
    engine: str
    read_out: str

    @property
    def name(self) -> str:
        """Name of its file, and what ``--only`` looks in."""
        if self.rule == "digital":
            return f"{self.network}-digital-seed{self.seed}"
        return f"{self.network}-{self.rule}-tau{self.tau}-{self.engine}-{self.read_out}-seed{self.seed}"


def network(name: str, seed: int) -> nn.Sequential:
    """Return the digital network, with the weights that torch draws from ``seed``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if name == "fcn":
            return nn.Sequential(
                nn.Flatten(),
                nn.Linear(784, 256),
                nn.Sigmoid(),
                nn.Linear(256, 128),
                nn.Sigmoid(),
                nn.Linear(128, 10),
            )
        first = [nn.Conv2d(1, 16, 5), nn.Tanh(), nn.MaxPool2d(2)]
        second = [nn.Conv2d(16, 32, 5), nn.Tanh(), nn.MaxPool2d(2), nn.Tanh(), nn.Flatten()]
        return nn.Sequential(*first, *second, nn.Linear(512, 128), nn.Tanh(), nn.Linear(128, 10))


def ours(cell: Cell, model: nn.Sequential, rate: float) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return the network on arrays of this library, and the optimizer that trains it."""
    mapping: dict[str, Any] = {"learn_out_scaling": True, "weight_scaling_columnwise": True}
    mapping |= {"max_input_size": 512, "max_output_size": 512}
    tile: dict[str, Any] = {
        "device": {"kind": "soft_bounds_reference", "w_max": cell.tau, "w_min": -cell.tau},
        "mapping": mapping,
    }
    read = TEXT if cell.read_out == "text" else {}
    if read:
        tile |= {"forward": read, "backward": {**read, "bound_management": "none"}}
    if cell.rule == "ttv1":
        forward = {**read, "noise_management": "none", "bound_management": "none"}
        tile["transfer"] = {
            "kind": "ttv1",
            "fast_lr": FAST_RATE,
            "reference": "none",
            "forward": forward,
        }
    analog = ap.to_analog(model, ap.TileConfig.parse(tile), seed=cell.seed)
    optimizer = torch.optim.SGD(analog.parameters(), lr=rate)
    ap.train_arrays(optimizer, analog)
    return analog, optimizer


def aihwkit(
    cell: Cell, model: nn.Sequential, rate: float
) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return the same with AIHWKit."""
    from aihwkit.nn.conversion import convert_to_analog  # type: ignore[import-untyped]
    from aihwkit.optim import AnalogSGD  # type: ignore[import-untyped]
    from aihwkit.simulator.configs import build_config  # type: ignore[import-untyped]
    from aihwkit.simulator.configs.devices import (  # type: ignore[import-untyped]
        SoftBoundsReferenceDevice,
    )

    device = SoftBoundsReferenceDevice(w_max=cell.tau, w_min=-cell.tau, construction_seed=10)
    config: Any = build_config(
        cell.rule, device, construction_seed=123 if cell.rule == "ttv1" else 10
    )
    config.mapping.learn_out_scaling = config.mapping.weight_scaling_columnwise = True
    reads = [config.forward, config.backward]
    if cell.rule == "ttv1":
        config.device.fast_lr = FAST_RATE
        reads.append(config.device.transfer_forward)
    for read in reads:
        for key, value in TEXT.items() if cell.read_out == "text" else ():
            setattr(read, key, value)
    torch.manual_seed(cell.seed)
    analog = convert_to_analog(model, config)
    optimizer = AnalogSGD(analog.parameters(), lr=rate)
    optimizer.regroup_param_groups(analog)
    return analog, optimizer


def built(cell: Cell) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Return network and optimizer of a cell."""
    model = network(cell.network, cell.seed)
    if cell.rule == "digital":
        return model, torch.optim.SGD(model.parameters(), lr=DIGITAL_RATE)
    make: dict[str, Callable[..., Any]] = {"ours": ours, "aihwkit": aihwkit}
    made: tuple[nn.Module, torch.optim.Optimizer] = make[cell.engine](cell, model, RATE)
    return made


def epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Tensor,
    labels: Tensor,
    batches: Iterable[Tensor],
) -> float:
    """Train for an epoch, on batches of indices, and return the mean loss."""
    model.train()
    total = 0.0
    for chosen in batches:
        optimizer.zero_grad()
        loss = cross_entropy(model(images[chosen].float() / 255), labels[chosen])
        torch.autograd.backward(loss)
        optimizer.step()
        total += loss.item() * len(chosen)
    return total / len(labels)


@torch.no_grad()
def accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the accuracy in %."""
    model.eval()
    parts = zip(torch.split(images, 500), torch.split(labels, 500), strict=True)
    right = sum(int((model(x.float() / 255).argmax(1) == y).sum()) for x, y in parts)
    return 100 * right / len(labels)


def train(cell: Cell, options: argparse.Namespace) -> None:
    """Train a cell, from its last finished epoch on, and write its JSON after each one."""
    torch.set_num_threads(1)
    held = {
        "train": options.images,
        "test": options.images and options.images // 2,
        "validation": 1,
    }
    path = str(options.path)
    samples = data.load(
        Dataset.model_validate({"kind": "mnist", "name": "mnist", "path": path, **held})
    )
    out = options.folder / f"{cell.name}.json"
    model, optimizer = built(cell)
    rate, rows = optimizer.param_groups[0]["lr"], read(out)
    saved = out.with_suffix(".pt")
    if rows:
        kept = torch.load(saved, weights_only=False)
        rows = rows[: kept["epochs"]]
        model.load_state_dict(kept["model"])
    for index in range(len(rows), options.epochs):
        since = time.monotonic()
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.1 ** (index // DECAY_EVERY)
        count = len(samples.train_targets)
        order = torch.randperm(count, generator=generator(cell.seed, "order", index))
        train_set = samples.train_inputs, samples.train_targets
        loss = epoch(model, optimizer, *train_set, torch.split(order, BATCH[cell.network]))
        row = {"epoch": index + 1, "train_loss": loss}
        row |= {"accuracy": accuracy(model, samples.test_inputs, samples.test_targets)}
        rows.append({**row, "seconds": time.monotonic() - since})
        kept = {"epochs": index + 1, "model": model.state_dict()}
        torch.save(kept, saved.with_suffix(".new"))
        os.replace(saved.with_suffix(".new"), saved)
        write_json(out, {**cell._asdict(), "rows": rows})


def read(out: Path) -> list[dict[str, float]]:
    """Return the rows of a cell, none where it has not begun."""
    rows: list[dict[str, float]] = json.loads(out.read_text())["rows"] if out.exists() else []
    return rows


def cells(options: argparse.Namespace) -> list[Cell]:
    """Return what is asked for: seed by seed."""
    lines = [
        Cell(*key, seed, options.engine, options.read_out)
        for seed in range(options.seeds)
        for key in PUBLISHED
    ]
    return [cell for cell in lines if options.only in cell.name]


def execute(todo: list[Cell], options: argparse.Namespace) -> None:
    """Train cells, ``jobs`` side by side, until the time is up."""
    deadline = time.monotonic() + 60 * options.minutes
    spawn, busy = mp.get_context("spawn"), dict[str, Any]()
    try:
        while (todo or busy) and time.monotonic() < deadline:
            for name in [name for name, process in busy.items() if process.exitcode is not None]:
                if busy.pop(name).exitcode != 0:
                    print(f"failed: {name}", flush=True)
            while todo and len(busy) < options.jobs:
                cell = todo.pop(0)
                print(cell.name, flush=True)
                busy[cell.name] = spawn.Process(target=train, args=(cell, options))
                busy[cell.name].start()
            if busy:
                wait([process.sentinel for process in busy.values()], deadline - time.monotonic())
    finally:
        for process in busy.values():
            process.terminate()
            process.join()


def table(options: argparse.Namespace) -> pd.DataFrame:
    """Return a row for each cell and seed in the folder, with either engine and read-out."""
    lines = []
    for out in sorted(options.folder.glob("*.json")):
        record = json.loads(out.read_text())
        rows = record.pop("rows")
        last = rows[-1]
        mean, std = PUBLISHED[record["network"], record["rule"], record["tau"]]
        record |= {"epochs": len(rows), "finished": len(rows) >= options.epochs}
        record |= {"accuracy": last["accuracy"], "best": max(row["accuracy"] for row in rows)}
        record |= {"train_loss": last["train_loss"], "published": mean, "published_std": std}
        lines.append({**record, "seconds": sum(row["seconds"] for row in rows)})
    return pd.DataFrame(lines)


def main() -> None:
    """Run what is asked for, write the CSV and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--path", type=Path, required=True, help="folder of MNIST")
    parser.add_argument("--folder", type=Path, default=Path("results/manual/published"))
    parser.add_argument("--csv", type=Path, help="the table (FOLDER.csv)")
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--engine", choices=["ours", "aihwkit"], default="ours")
    parser.add_argument("--read-out", choices=["scripts", "text"], default="scripts")
    parser.add_argument("--only", default="", help="cells whose name has this, e.g. fcn-ttv1")
    parser.add_argument("--jobs", type=int, default=1, help="cells side by side")
    parser.add_argument("--minutes", type=float, default=10_000, help="0: only the table")
    parser.add_argument("--images", type=int, help="so many training images, to try it (all)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    options.folder.mkdir(parents=True, exist_ok=True)
    todo = [
        c for c in cells(options) if len(read(options.folder / f"{c.name}.json")) < options.epochs
    ]
    execute(todo, options)
    lines = table(options)
    if lines.empty:
        sys.exit("nothing has begun")
    csv = options.csv or options.folder.with_suffix(".csv")
    lines.to_csv(csv, index=False)
    keys = ["network", "rule", "tau", "engine", "read_out", "epochs", "published", "published_std"]
    print(lines.groupby(keys)["accuracy"].agg(["mean", "std", "count"]).round(2).to_string())
    print(f"{len(lines)} cells: {csv}")


if __name__ == "__main__":
    main()
