"""What async costs on a decoder, and what buys it back.

    python benchmarks/async_decoder.py --path TEXT [--minutes 45] [--recipes one cosine ...]

A decoder of 4 layers (8 blocks), width 96, context 64, digital. A cell is a recipe (micro-batch, optimizer, rate
over the run, what is done against staleness) and either no pipeline or async with 4 or 8 equal stages. Its rate
is picked with seed 0 on 1,000 held-out windows after 9,600 samples (two epochs of 4,800) from a grid of half
decades, AdamW 0.0003 to 0.003, SGD 0.03 to 0.3, that is longer by one while its best rate is at an edge (up to
3). Recipes in FINAL then train at the pick with seeds 1 to 3 on 24,000 samples (two epochs of 12,000) and
are tested. A run is a process and has a folder; what is finished is not run again, what was stopped goes on
from its checkpoint. Start it once at a time.

Success, as fixed before the first run: mean test loss within 0.03 nats of no pipeline with the same seeds and the
same micro-batch, and within 0.03 of no pipeline at 16, so that no weak reference is met.

The CSV has a row for each finished run:
recipe, schedule, stages: the cell
micro_batch, optimizer, decay, mode: what the recipe is
rate, seed: of the run, the learning rate and the seed of weights and order
samples: windows that it trained on;  split: ``validation`` (to pick the rate) or ``test``
pick: of the cell: ``interior``, ``edge`` (the grid ended), ``open`` (not decided yet)
picked: whether this is the rate of the cell
train_loss, loss, accuracy: of the last epoch; nats; of ``split``
seconds: wall time of the run
"""

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from learnability import SEEDS, Study, carry_out, rate

from analogpipe.files import read_yaml
from analogpipe.profile.profile import Run

ADAMW: dict[str, Any] = {"kind": "adamw"}
ALWAYS = 1_000_000
"""Epochs of a warm-up that does not end: each stage keeps its rate over 1 + delay."""
RECIPES: dict[str, dict[str, Any]] = {
    "adamw": {},
    "four": {"micro_batch": 4},
    "one": {"micro_batch": 1},
    "rate by delay": {"mode": {"warm_up_epochs": ALWAYS}},
    "warm-up by delay": {"mode": {"warm_up_epochs": 1}},
    "prediction": {"mode": {"prediction": 0.9}},
    "beta1 0.5": {"optimizer": {**ADAMW, "beta1": 0.5}},
    "beta1 0": {"optimizer": {**ADAMW, "beta1": 0.0}},
    "beta2 0.99": {"optimizer": {**ADAMW, "beta2": 0.99}},
    "sgd momentum 0.9": {"optimizer": {"kind": "sgd", "momentum": 0.9}},
    "sgd": {"optimizer": {"kind": "sgd"}},
    "cosine": {"decay": "cosine"},
    "four, beta1 0": {"micro_batch": 4, "optimizer": {**ADAMW, "beta1": 0.0}},
    "one, beta1 0": {"micro_batch": 1, "optimizer": {**ADAMW, "beta1": 0.0}},
    "one, rate by delay": {"micro_batch": 1, "mode": {"warm_up_epochs": ALWAYS}},
    "one, cosine": {"micro_batch": 1, "decay": "cosine"},
}
SEQUENTIAL = ["adamw", "four", "one", "one, beta1 0", "cosine", "one, cosine"]
FINAL = {"adamw": (1, 4, 8), "one": (1, 8), "one, beta1 0": (1, 4, 8)}
"""Stage counts of the tests."""


class Cell(NamedTuple):
    """A recipe without a pipeline (one stage) or in async."""

    recipe: str
    stages: int

    @property
    def schedule(self) -> str:
        """The schedule by name."""
        return "async" if self.stages > 1 else "sequential"

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.recipe}-M{self.stages}".replace(" ", "_").replace(",", "")


class AsyncStudy(Study):
    """The runs of this table: those that pick rates are short, those of a test are long."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.path, self.toy = options.path, options.toy
        self.images = False
        self.folder = Path(options.folder) / ("toy" if self.toy else "runs")
        self.failed: set[Path] = set()
        parts = [
            (recipe, m) for counts in ((8, 1), (4,)) for recipe in options.recipes for m in counts
        ]
        self.cells = [  # type: ignore[assignment]
            Cell(recipe, m)
            for recipe, m in parts
            if m == 8 or (m == 1 and recipe in SEQUENTIAL) or m in FINAL.get(recipe, ())
        ]

    def optimizer(self, cell: Any) -> dict[str, Any]:
        """Return the optimizer of a cell."""
        return dict(RECIPES[cell.recipe].get("optimizer", ADAMW))

    def grid(self, cell: Any) -> range:
        """Return the first steps of the grid (see learnability.rate)."""
        return range(-7, -4) if self.optimizer(cell)["kind"] == "adamw" else range(-3, 0)

    def run(self, cell: Any, step: int, seed: int) -> tuple[Run, Path]:
        """Return a run and its folder, of seed 0 short and on validation."""
        recipe, validation = RECIPES[cell.recipe], seed == 0
        train, held = (128, 32) if self.toy else (4_800 if validation else 12_000, 1_000)
        data = {"kind": "text", "name": "text", "path": self.path, "context": 64, "test": held}
        model = {"kind": "decoder", "name": "decoder", "layers": 4, "heads": 4}
        training = {"epochs": 2, "micro_batch": recipe.get("micro_batch", 16)}
        training |= {"decay": recipe.get("decay", "constant"), "optimizer": self.optimizer(cell)}
        mode = recipe.get("mode", {}) if cell.stages > 1 else {}
        run = Run.model_validate(
            {
                "profile": "async-decoder",
                "dataset": {**data, "train": train + held * validation, "validation": held},
                "model": {**model, "width": 8 if self.toy else 96},
                "device": "digital",
                "mode": {"name": cell.schedule, "schedule": cell.schedule, **mode},
                "stages": cell.stages,
                "split": [8 // cell.stages] * cell.stages,
                "seed": seed,
                "learning_rate": rate(step),
                "training": training,
                "validation": validation,
            }
        )
        return run, self.folder / cell.name / f"rate{rate(step)}-seed{seed}"

    def missing(self) -> list[tuple[Run, Path]]:
        """Return the runs that can be started now: all picks, then the tests, seed by seed."""
        picks, tests = [], []
        for cell in self.cells:
            _, picked, steps = self.pick(cell)
            picks += [self.run(cell, step, 0) for step in steps if self.score(cell, step) is None]
            if picked is not None and cell.stages in FINAL.get(cell.recipe, ()):
                tests += [self.run(cell, picked, seed) for seed in SEEDS]
        tests.sort(key=lambda found: found[0].seed)
        runs = picks + tests
        return [r for r in runs if r[1] not in self.failed and not (r[1] / "run.json").exists()]

    def table(self) -> pd.DataFrame:
        """Return a row for each finished run (columns: see above)."""
        rows = []
        for cell in self.cells:
            state, picked, steps = self.pick(cell)
            for step, seed in [(s, n) for s in steps for n in (0, *SEEDS)]:
                run, folder = self.run(cell, step, seed)
                if not (folder / "run.json").exists():
                    continue
                last = pd.read_csv(folder / "metrics.csv").iloc[-1]
                training, softened = run.training, {"warm_up_epochs", "prediction"}
                mode = run.mode.model_dump(include=softened, exclude_defaults=True)
                row: dict[str, Any] = {**cell._asdict(), "schedule": cell.schedule}  # type: ignore[attr-defined]
                row |= {"micro_batch": training.micro_batch, "decay": training.decay}
                row |= {"optimizer": json.dumps(training.optimizer.model_dump(exclude_unset=True))}
                row |= {"mode": json.dumps(mode)}
                row |= {"rate": rate(step), "seed": seed, "samples": int(last["samples"])}
                row |= {"split": "test" if seed else "validation", "pick": state}
                row |= {"picked": step == picked, "train_loss": last["train_loss"]}
                row |= {"loss": last["test_loss"], "accuracy": last["test_accuracy"]}
                rows.append({**row, "seconds": read_yaml(folder / "run.json")["wall_seconds"]})
        return pd.DataFrame(rows)


def against_sequential(table: pd.DataFrame) -> pd.DataFrame:
    """Return test losses, and by how much they are above those without a pipeline, seed by seed:
    at the same micro-batch and the same decay, and with recipe ``adamw``."""
    tests = table[(table["split"] == "test") & table["picked"]]
    plain = tests[tests["schedule"] == "sequential"]
    keys = ["seed", "micro_batch", "decay"]
    own = plain[plain["optimizer"] == json.dumps(ADAMW)].set_index(keys)["loss"]
    best = plain[plain["recipe"] == "adamw"].set_index("seed")["loss"]
    above = tests["loss"] - own.reindex(pd.MultiIndex.from_frame(tests[keys])).to_numpy()
    tests = tests.assign(above_own=above, above_16=tests["loss"] - tests["seed"].map(best))
    cells = tests.groupby(["recipe", "stages", "rate"], sort=False)
    return cells[["loss", "above_own", "above_16", "accuracy"]].agg(["mean", "std", "count"])


def main() -> None:
    """Run what is asked for, write the CSV and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--path", required=True, help="text file")
    parser.add_argument(
        "--folder", default="results/manual/async-decoder", help="folder of the runs"
    )
    parser.add_argument("--csv", type=Path, help="the table (FOLDER/async-decoder.csv)")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), choices=list(RECIPES))
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--minutes", type=float, default=10_000, help="0: only the table")
    parser.add_argument("--toy", action="store_true", help="a few samples and channels, to try it")
    options = parser.parse_args()
    csv = options.csv or Path(options.folder) / "async-decoder.csv"
    table = carry_out(AsyncStudy(options), options.jobs, options.minutes, csv)
    picks = table[(table["split"] == "validation") & table["picked"]]
    shown = ["recipe", "stages", "pick", "rate", "train_loss", "loss", "seconds"]
    print(picks[shown].to_string(index=False, float_format="%.4g"))
    if (table["split"] == "test").any():
        print(against_sequential(table).to_string(float_format="%.3f"))
    print(f"{len(table)} runs: {csv}")


if __name__ == "__main__":
    main()
