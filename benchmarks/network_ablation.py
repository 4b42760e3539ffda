"""What the quick profile's network loses on analog arrays, each cause by itself and all at one rate.

    python benchmarks/network_ablation.py [FOLDER]

prints two tables: final accuracy by the part of the read-out that has noise (sequential, five
seeds), and what async adds to the training loss of a short run at each learning rate (8 stages,
three seeds). The runs are kept in FOLDER (results/manual/ablation), those that are there are not
run again. Minutes.
"""

import sys
from pathlib import Path

import torch

import analogpipe as ap

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else "results/manual/ablation")
PERFECT = {"perfect": True}


def train(profile, out, device, mode, stages, seed, rate, tile):
    """Train one run into a folder, once."""
    if not (out / "run.json").exists():
        run = profile.run(device, mode, stages, seed, tile=tile, rate=rate)
        ap.train(run, out)


def readout(linear):
    """Final accuracy and loss at one rate, 0.025: digital, and on tiles that differ in one thing."""
    profile = ap.load_profile("config/quick.yaml")
    device = linear.device
    tiles = {
        "digital": None,
        "linear device, perfect read-out": {
            "device": device,
            "forward": PERFECT,
            "backward": PERFECT,
        },
        "ideal device, noisy read-out": {"device": ap.Ideal()},
        "linear device, noisy backward read": {"device": device, "forward": PERFECT},
        "linear device, noisy forward read": {"device": device, "backward": PERFECT},
        "linear device, noisy read-out": {"device": device},
    }
    for name, parts in tiles.items():
        tile = None if parts is None else ap.TileConfig.parse(parts)
        for seed in profile.seeds:
            out = FOLDER / "readout" / name / f"seed{seed}"
            train(
                profile,
                out,
                "digital" if tile is None else "linear-tau0.6",
                "sequential",
                1,
                seed,
                0.025,
                tile,
            )
    runs = last_epoch(FOLDER / "readout")
    return (
        runs.groupby("name")[["test_accuracy", "train_loss"]].agg(["mean", "std"]).loc[list(tiles)]
    )


def price(linear):
    """Training loss of the third epoch by mode and rate, and what async adds."""
    profile = ap.load_profile("config/quick.yaml", ["training.epochs=3"])
    tile = ap.calibrate(linear, seed=0, name="linear-tau0.6").tile
    narrow = tile.device.model_copy(update={"w_max": 0.3, "w_min": -0.3})
    noisy = {
        part: getattr(tile, part).model_copy(update={"out_noise": 0.2})
        for part in ("forward", "backward")
    }
    tiles = {
        "calibrated": tile,
        "range 0.3": tile.model_copy(update={"device": narrow}),
        "read noise 0.2": tile.model_copy(update=noisy),
    }
    for name, changed in tiles.items():
        for rate in (0.0125, 0.025):
            for mode, stages in (("sequential", 1), ("async", 8)):
                for seed in range(3):
                    out = FOLDER / "price" / name / f"{rate}-{mode}-{seed}"
                    train(profile, out, "linear-tau0.6", mode, stages, seed, rate, changed)
    runs = last_epoch(FOLDER / "price")
    loss = runs.pivot_table(
        index=["name", "learning_rate", "seed"], columns="mode", values="train_loss"
    )
    table = loss.assign(added=loss["async"] - loss["sequential"]).groupby(
        ["name", "learning_rate"], sort=False
    )
    return table.mean().loc[list(tiles)]


def last_epoch(root):
    """The last epoch of every run below a folder, with the name of its tile."""
    runs = ap.load_runs(root)
    runs = runs[runs["epoch"] == runs["epoch"].max()]
    return runs.assign(name=runs["folder"].map(lambda folder: Path(folder).parent.name))


if __name__ == "__main__":
    torch.set_num_threads(1)
    LINEAR = ap.load_devices("config/devices.yaml")["linear-tau0.6"]
    for table in (readout(LINEAR), price(LINEAR)):
        print(table.to_string(float_format="%.4f"))
