"""The profile, checked before anything runs, and the paths that the rules share."""

import ast
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from analogpipe.config import DIGITAL, load_profile
from analogpipe.files import FileError

# The jobs run with the Python that runs the workflow, whether its environment is activated or not.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

SOURCES = Path(os.path.relpath(workflow.basedir)) / "src" / "analogpipe"
ENVIRONMENT = Path(workflow.basedir) / "environment.yml"
PROFILE_FILE = str(config.get("profile", "quick"))
if not PROFILE_FILE.endswith((".yaml", ".yml")):
    PROFILE_FILE = os.path.relpath(Path(workflow.basedir) / "config" / f"{PROFILE_FILE}.yaml")
try:
    PROFILE = load_profile(Path(PROFILE_FILE))
except FileError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{PROFILE.profile}"
FIGURES = f"paper_figures/{PROFILE.profile}"
RUN = f"{RESULTS}/runs/{PROFILE.dataset.name}/{PROFILE.model.name}/{{device}}/{{mode}}/M{{stages}}/seed{{seed}}"
SWEEP = f"{RESULTS}/sweep/{{device}}/{{mode}}/lr{{rate}}/seed{{seed}}"
ANALOG = [device for device in PROFILE.devices if device != DIGITAL]


wildcard_constraints:
    device="[A-Za-z0-9.-]+",
    mode="[A-Za-z0-9.-]+",
    stages=r"\d+",
    seed=r"\d+",
    rate=r"[0-9.e-]+",
    figure="fig[0-9]+_[a-z]+",


def sources(name):
    """Source of a module of the library and of all that it imports from the library."""
    found, todo = {}, [name]
    while todo:
        current = todo.pop()
        path = SOURCES / f"{current}.py"
        if current in found or not path.exists():
            continue
        found[current] = str(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                package, _, below = node.module.partition(".")
                if package == "analogpipe":
                    todo += [below] if below else [alias.name for alias in node.names]
    return sorted(found.values())


def tile(wildcards):
    """Calibrated tile of an analog device; a digital run needs none."""
    if wildcards.device == DIGITAL:
        return []
    return f"{RESULTS}/calibration/{wildcards.device}/device.yaml"


def tile_option(wildcards):
    """The same as an option of the command."""
    path = tile(wildcards)
    return f"--tile {path}" if path else ""


def run_settings(wildcards):
    """What a run depends on in the profile, so that it reruns when that changes and only then."""
    try:
        run = PROFILE.run(
            DIGITAL,
            wildcards.mode,
            int(wildcards.stages if "stages" in wildcards.keys() else PROFILE.sweep.stages),
            int(wildcards.seed),
            learning_rate=float(wildcards.rate)
            if "rate" in wildcards.keys()
            else PROFILE.learning_rates[wildcards.device][wildcards.mode],
        )
    except (FileError, KeyError) as error:
        raise WorkflowError(f"{PROFILE_FILE}: no such run: {error}") from None
    return run.model_dump_json(exclude={"device", "tile"})


def all_runs(wildcards):
    """Every run that the tables need."""
    return [
        RUN.format(device=device, mode=mode, stages=stages, seed=seed) + "/" + name
        for device in PROFILE.devices
        for mode in PROFILE.modes
        for stages in PROFILE.trained_stages(mode)
        for seed in PROFILE.seeds
        for name in ("metrics.csv", "run.json")
    ]


def all_sweeps(wildcards):
    """Every run of the sweep."""
    return [
        SWEEP.format(device=device, mode=mode, rate=f"{rate:g}", seed=seed) + "/metrics.csv"
        for device in PROFILE.devices
        for mode in PROFILE.modes
        for rate in PROFILE.sweep.rates[device]
        for seed in PROFILE.sweep.seeds
    ]
