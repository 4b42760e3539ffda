"""The workflow, run for real on a profile that takes seconds, and its plans for others."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import yaml

from analogpipe.claims.checks import CHECKS
from analogpipe.claims.rules import RULES
from analogpipe.claims.table import ANSWERS, ROWS
from analogpipe.experiment.copies import COLUMNS as COPIES
from run_snakemake import PROFILE, snakemake

RUN = "results/tiny/runs/digits/resmlp3/digital/async/M3/lr0.1/seed0"


def planned(where: Path, *targets: str, profile: Path | str) -> Counter[str]:
    """Return the jobs of a dry run, by rule."""
    result = snakemake(where, "--dry-run", "--quiet", "rules", profile=profile, targets=targets)
    assert result.returncode == 0, result.stderr
    return Counter(
        {
            rule: int(n)
            for rule, n in re.findall(r"^(\w+) +(\d+)$", result.stderr + result.stdout, re.M)
            if rule != "total"
        }
    )


@pytest.fixture
def edited_in_place(finished, edited):
    """Return a function that edits the finished workflow's profile; undone after the test."""
    before = (finished / PROFILE).read_text()

    def edit(path: str, value: object) -> None:
        (finished / PROFILE).write_text(edited(path, value).read_text())

    yield edit
    (finished / PROFILE).write_text(before)


def test_plan_is_the_grid(tmp_path):
    # 2 devices, all seeds in a job: sequential and sync once for all stage counts, async for 4; a twin
    assert planned(tmp_path, profile="quick") == {
        "data": 1, "calibrate": 1, "train": 2 * (1 + 1 + 4) + 1, "execute_schedules": 1,
        "aggregate": 1, "claims": 1, "hardware": 1, "copies": 1, "pairs": 1, "figure": 16,
        "device_figure": 1, "all": 1,
        "theory_run": 3, "theory_tables": 1, "ablation_run": 3, "ablation_tables": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("target", "jobs"),
    [
        ("calibration", {"calibrate": 1, "calibration": 1}),
        ("results/quick/tables/copies.csv", {"calibrate": 1, "copies": 1}),
        ("training", {"data": 1, "calibrate": 1, "train": 13, "training": 1}),
        (
            "theory",
            {"theory_run": 3, "theory_tables": 1, "figure": 4, "theory": 1},
        ),
        ("results/quick/theory/floor.csv", {"theory_run": 1}),
        (
            "ablation",
            {
                "data": 1,
                "calibrate": 1,
                "ablation_run": 3,
                "ablation_tables": 1,
                "figure": 1,
                "ablation": 1,
            },
        ),
        ("results/quick/ablation/seed7.csv", {"data": 1, "calibrate": 1, "ablation_run": 1}),
        ("sweep", {"data": 1, "calibrate": 1, "sweep_run": 36, "sweep": 1}),
        (
            "results/quick/runs/digits/resmlp8/digital/sequential/M4/lr0.025/seed7/metrics.csv",
            {"data": 1, "train": 1},
        ),
        (
            "results/quick/runs/digits/resmlp8/linear-tau0.6/async/M2/lr0.05/seed1/run.json",
            {"data": 1, "calibrate": 1, "train": 1},
        ),
    ],
)
def test_targets_resolve(tmp_path, target, jobs):
    assert planned(tmp_path, target, profile="quick") == jobs


@pytest.mark.parametrize(
    ("profile", "devices", "seeds", "modes", "stages"),
    [("mnist", 4, 5, 3, 3), ("cifar10", 3, 3, 3, 3)],
)
def test_larger_profiles_are_planned(tmp_path, profile, devices, seeds, modes, stages):
    plan = planned(tmp_path, "training", profile=profile)
    # at one rate, the common one, and without a pipeline the symmetric twins
    assert plan["train"] == seeds * (devices * (modes - 1 + stages) + devices - 1)
    assert (plan["data"], plan["calibrate"]) == (1, devices - 1)


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        ("modle", 1, "modle"),
        ("learning_rates.digital.async", -1.0, "greater than 0"),
        ("stages", [4], "at most 3"),
        (
            "dataset",
            {"kind": "image_folder", "name": "m", "validation": 5, "path": "nowhere"},
            "nowhere",
        ),
    ],
)
def test_bad_profile_stops_before_anything(edited, tmp_path, path, value, word):
    bad = edited(path, value)
    where = tmp_path / "work"
    where.mkdir()
    result = snakemake(where, profile=bad)
    assert result.returncode != 0
    (line,) = [line for line in result.stderr.splitlines() if word in line]
    assert "edited.yaml" in line
    assert [p.name for p in where.iterdir() if p.name != ".snakemake"] == []


def test_every_output_is_there(finished):
    drawn = [path for path in (finished / "paper_figures/tiny").rglob("*") if path.is_file()]
    figures = {path.name for path in drawn}
    names = (
        "fig1_schedules", "fig2_device", "fig3_convergence", "fig4_differences", "fig5_speedup",
        "fig6_slopes", "fig7_floor", "fig8_price", "fig9_targets", "fig10_ablation",
        "fig11_hardware_speedup", "fig12_hardware_target", "fig13_hardware_stages",
        "fig14_hardware_plane", "fig15_price", "fig16_staleness", "linear-tau0.6",
    )  # fmt: skip
    assert figures == {name + kind for name in names for kind in (".pdf", ".png")}
    for path in drawn:
        assert path.read_bytes()[:4] == {".pdf": b"%PDF", ".png": b"\x89PNG"}[path.suffix]
    tables = {path.name for path in (finished / "results/tiny/tables").iterdir()}
    for name in ("table1", "table2", "table3", "headline", "answers", "claims", "checks"):
        assert {f"{name}.csv", f"{name}.md", f"{name}.tex"} <= tables


def test_copies_of_every_device_have_a_price(finished):
    copies = pd.read_csv(finished / "results/tiny/tables/copies.csv")
    assert tuple(copies.columns) == COPIES
    assert set(copies["device"]) == {"linear-tau0.6"}
    assert set(copies["seed"]) == {0, 1}
    assert not copies.isna().any(axis=None)


def test_claims_and_checks_are_apart(finished):
    tables = finished / "results/tiny/tables"
    claims, checks = pd.read_csv(tables / "claims.csv"), pd.read_csv(tables / "checks.csv")
    assert tuple(claims.columns) == ("claim", *ROWS)
    assert tuple(checks.columns) == ("check", *ROWS)
    assert set(claims["claim"]) == set(RULES)
    assert set(checks["check"]) == set(CHECKS)
    assert set(claims["verdict"]) <= {"reproduced", "not reproduced", "inconclusive"}
    # schedules and pairs are as they must be; the tiny theory is too short for its tests
    exact = checks[(checks["check"] != "theory") & ~checks["measure"].str.contains("density")]
    assert set(exact["verdict"]) == {"reproduced"}
    answers = pd.read_csv(tables / "answers.csv")
    assert tuple(answers.columns) == ANSWERS
    assert not answers.duplicated(["claim", "device"]).any()


@pytest.mark.parametrize(("together", "jobs"), [(True, 9), (False, 18)])
def test_all_seeds_of_a_setting_may_be_one_job(edited, tmp_path, together, jobs):
    profile = edited("seeds_together", together)
    assert planned(tmp_path, "training", profile=profile)["train"] == jobs


def test_calibrated_device_is_what_trains(finished):
    tile = (finished / "results/tiny/calibration/linear-tau0.6/device.yaml").read_text()
    fitted = re.search(r"dw_min: (\S+)", tile)[1]
    record = (
        finished / "results/tiny/runs/digits/resmlp3/linear-tau0.6/async/M3/lr0.1/seed0/run.json"
    )
    assert f'"dw_min": {fitted},' in record.read_text()


def test_second_run_has_nothing_to_do(finished):
    result = snakemake(finished, profile=PROFILE)
    assert result.returncode == 0
    assert "Nothing to be done" in result.stderr + result.stdout


def test_what_runs_took_and_said_may_be_removed(finished):
    """A benchmark of each run is a log, not a result: without it there is nothing to do, either."""
    took = finished / "logs/tiny/benchmarks/train/digital-async-M3-lr0.1-seed0.tsv"
    assert pd.read_csv(took, sep="\t").loc[0, ["s", "max_rss"]].min() > 0
    shutil.rmtree(finished / "logs")
    result = snakemake(finished, profile=PROFILE)
    assert "Nothing to be done" in result.stderr + result.stdout


def test_one_run_alone_reruns(finished):
    before = (finished / RUN / "metrics.csv").read_bytes()
    target = f"{RUN}/metrics.csv"
    result = snakemake(finished, "--force", profile=PROFILE, targets=(target,))
    assert result.returncode == 0, result.stderr
    assert "1 of 1 steps" in result.stderr + result.stdout
    assert re.search(r"^run 18 of 18 done, 0 left: 1 in ", result.stderr + result.stdout, re.M)
    assert (finished / RUN / "metrics.csv").read_bytes() == before


def test_one_more_seed_trains_only_its_own_runs(finished, edited_in_place):
    edited_in_place("seeds", [0, 1, 2])
    jobs = planned(finished, profile=PROFILE)
    assert jobs["train"] == 2 * (1 + 1 + 2) + 1
    assert "calibrate" not in jobs
    assert "theory_run" not in jobs
    assert "ablation_run" not in jobs
    assert (jobs["aggregate"], jobs["claims"]) == (1, 1)


def test_another_learning_rate_trains_only_what_it_touches(finished, edited_in_place):
    edited_in_place("learning_rates.digital.sync", 0.3)
    assert planned(finished, profile=PROFILE)["train"] == 2


def test_another_size_of_the_theory_runs_only_the_theory(finished, edited_in_place):
    edited_in_place("theory.rows", 9)
    jobs = planned(finished, profile=PROFILE)
    assert "train" not in jobs
    assert (jobs["theory_run"], jobs["theory_tables"], jobs["claims"]) == (3, 1, 1)


def test_a_profile_without_theory_has_none_of_its_jobs(edited, tmp_path):
    jobs = planned(tmp_path, profile=edited("theory", ...))
    assert not [rule for rule in jobs if rule.startswith("theory")]
    assert (jobs["figure"], jobs["claims"]) == (12, 1)


def test_another_seed_of_the_ablation_runs_alone(finished, edited_in_place):
    content = yaml.safe_load((finished / PROFILE).read_text())["ablation"]
    edited_in_place("ablation", content | {"seeds": [0, 1, 5]})
    jobs = planned(finished, profile=PROFILE)
    assert (jobs["ablation_run"], jobs["ablation_tables"]) == (1, 1)
    assert "theory_run" not in jobs
    assert "train" not in jobs


def test_a_profile_without_an_ablation_has_none_of_its_jobs(edited, tmp_path):
    jobs = planned(tmp_path, profile=edited("ablation", ...))
    assert not [rule for rule in jobs if rule.startswith("ablation")]
    assert jobs["figure"] == 15


def test_shares_of_every_mode_add_up_to_the_gap(finished):
    shares = pd.read_csv(finished / "results/tiny/tables/shares.csv")
    assert set(shares["mode"] + " " + shares["measure"]) == {
        "sequential log loss", "sequential accuracy", "async log loss", "async accuracy",
        "async staleness",
    }  # fmt: skip
    for _, part in shares.groupby(["mode", "measure"]):
        share = part.set_index("factor")["share"]
        assert list(share.index) == ["range", "rule", "rest", "gap"]
        assert share.drop("gap").sum() == pytest.approx(share["gap"])
    runs = pd.read_csv(finished / "results/tiny/tables/ablation.csv")
    assert len(runs) == 2 * 2 * (1 + 4)


def test_another_ladder_trains_nothing(finished, edited_in_place):
    edited_in_place("ladder.digital", [1.5])
    jobs = planned(finished, profile=PROFILE)
    assert "train" not in jobs
    assert jobs["aggregate"] == 1


def test_figures_are_drawn_from_tables_alone(finished):
    result = snakemake(finished, "--dry-run", "--forceall", profile=PROFILE)
    inputs = re.findall(r"rule (?:\w+_)?figure:\n +input: (.*)", result.stdout + result.stderr)
    assert len(inputs) == 17
    for line in inputs:
        for path in line.split(", "):
            assert re.search(
                r"/analogpipe/(\w+/)*\w+\.py$|/(tables|calibration/[\w.-]+)/\w+\.csv$"
                r"|/schedules/schedules\.csv$",
                path,
            ), path
            assert not re.search(r"/(experiment|pipeline|layer|calibration)/\w+\.py$", path)
