"""The profile, checked before anything runs, and the paths that the rules share."""

import os
import shlex
import sys
from itertools import accumulate
from pathlib import Path

import grimp
from snakemake.exceptions import WorkflowError

import analogpipe
from analogpipe.files import FileError
from analogpipe.profile.paths import profile_file, run_folder, sweep_folder
from analogpipe.profile.profile import DIGITAL, SYMMETRIC, load_devices, load_profile
from analogpipe.results import layout

SOURCES = Path(os.path.relpath(Path(analogpipe.__file__).parent))
IMPORTS = grimp.build_graph(
    "analogpipe", cache_dir=None, exclude_type_checking_imports=True
)

# Jobs run with the Python that runs the workflow, whether its environment is activated or not. In a conda environment
# of their own (`--sdm conda`) they run with that one's, which Snakemake puts before this PATH later.
os.environ.update(
    PATH=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()])
)
# They import the library that was imported here, in a conda environment too. Who sets a prefix takes Snakemake's own away,
# which lets a job fail when a command of it fails, also one before a pipe: so it is said again.
if SOURCES.resolve().parent.name != "site-packages":
    shell.prefix(
        "set -euo pipefail; "
        f"export PYTHONPATH={shlex.quote(str(SOURCES.resolve().parent))}; "
    )

ENVIRONMENT = Path(workflow.basedir) / "environment.yml"
PROFILE_FILE = str(config.get("profile", "quick"))
if not PROFILE_FILE.endswith((".yaml", ".yml")):
    PROFILE_FILE = os.path.relpath(workflow.basedir / profile_file(PROFILE_FILE))
try:
    PROFILE = load_profile(Path(PROFILE_FILE))
    DEVICES_FILE = os.path.relpath(Path(PROFILE_FILE).parent / PROFILE.devices_file)
    DEVICES = load_devices(Path(DEVICES_FILE)) if PROFILE.analog_devices else {}
except FileError as error:
    raise WorkflowError(str(error)) from None

ROOT = Path("results") / PROFILE.profile
# `--config seeds_together=false` asks for one run alone in a profile whose jobs train all seeds.
TOGETHER = str(config.get("seeds_together", PROFILE.seeds_together)).lower() == "true"
ANALOG = PROFILE.analog_devices
# A network or a data set of the user's own comes from a Python file.
OWN_MODEL = [PROFILE.model.file] if PROFILE.model.kind == "python" else []
OWN_DATA = [PROFILE.dataset.path] if PROFILE.dataset.kind == "python" else []
RUN = run_folder(ROOT, PROFILE, "{device}", "{mode}", "{stages}", "{rate}", "{seed}")
SWEEP_RUN = sweep_folder(ROOT, "{device}", "{mode}", "{rate}", "{seed}")
ONE_SEED = "" if TOGETHER else "-seed{seed}"
GPUS = int(PROFILE.compute.device == "cuda")
# An edit of a profile or a devices file does not rerun everything: they are ancient inputs, and the param
# `reruns_when_changed`, which no command takes, holds the part of them that a job depends on.
UNIMPORTANT = {"checkpoint_every"}  # keys of training that change no result

THEORY_FIGURES = layout.THEORY_FIGURES if PROFILE.theory else {}
ABLATION_FIGURES = layout.ABLATION_FIGURES if PROFILE.ablation else {}
FIGURES = {
    figure: tables
    for figure, tables in {
        **layout.FIGURES,
        **THEORY_FIGURES,
        **ABLATION_FIGURES,
    }.items()
    if ANALOG or figure != "fig2_device"
}


pathvars:
    results=str(ROOT),
    figures=f"paper_figures/{PROFILE.profile}",
    logs=f"logs/{PROFILE.profile}",
    benchmarks=f"logs/{PROFILE.profile}/benchmarks",


wildcard_constraints:
    device="[A-Za-z0-9.-]+",
    mode="[A-Za-z0-9.-]+",
    stages=r"\d+",
    seed=r"\d+",
    rate=r"[0-9.e-]+",
    figure="|".join(FIGURES),
    experiment="|".join(layout.EXPERIMENTS),


def sources(module):
    """Sources of a module of the library and of all that it imports from the library.

    The packages that they lie in are among them: Python runs those on the way.
    """
    name = f"analogpipe.{module}"
    found = {name} | IMPORTS.find_upstream_modules(name)
    found |= {
        package
        for one in found
        for package in accumulate(one.split("."), "{}.{}".format)
    }
    stems = [SOURCES.joinpath(*one.split(".")[1:]) for one in found]
    return sorted(
        str(stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py"))
        for stem in stems
    )


def tables(names):
    """Files that a job makes of tables, but for the pages, which have a caption in the report."""
    return [
        f"<results>/{name}{suffix}"
        for name in names
        for suffix in (".csv", *(layout.FORMATS if name in layout.SHOWN else ()))
    ]


def csv(names):
    """Files of tables that a job reads."""
    return [f"<results>/{name}.csv" for name in names]


def device_settings(wildcards):
    """What the calibration of a device depends on: its entry in the devices file alone."""
    return DEVICES[wildcards.device].model_dump_json()


def tile(wildcards):
    """Calibrated tile of an analog device, or its symmetric twin; a digital run needs none."""
    if wildcards.device == DIGITAL:
        return []
    device = wildcards.device.removesuffix(SYMMETRIC)
    name = "device" if device == wildcards.device else "symmetric"
    return f"<results>/calibration/{device}/{name}.yaml"


def tile_option(wildcards, input):
    """The same as an option of the command."""
    return f"--tile {input.tile}" if input.tile else ""


def run_settings(wildcards):
    """What a run depends on in the profile, so that it reruns when that changes and only then."""
    swept = "stages" not in wildcards.keys()
    try:
        run = PROFILE.run(
            DIGITAL,
            wildcards.mode,
            PROFILE.sweep.stages if swept else int(wildcards.stages),
            int(getattr(wildcards, "seed", 0)),
            rate=float(wildcards.rate),
            validation=swept,
        )
    except (FileError, KeyError) as error:
        raise WorkflowError(f"{PROFILE_FILE}: no such run: {error}") from None
    return run.model_dump_json(
        exclude={"device": True, "tile": True, "training": UNIMPORTANT}
    )


def run_folders():
    """Folder of every run that the tables need."""
    return [run_folder(ROOT, PROFILE, *key) for key in PROFILE.trained_runs()]


def of_seeds(folder, name, seeds):
    """The files of a job: of all seeds where they train together, else of one, a wildcard."""
    path = str(folder / name)
    return expand(path, seed=seeds, allow_missing=True) if TOGETHER else path


def seed_options(wildcards, seeds):
    """The same seeds as options of the command."""
    return [f"--seed {seed}" for seed in (seeds if TOGETHER else [wildcards.seed])]


def sweep_folders():
    """Folder of every run of the sweep."""
    if PROFILE.sweep is None:
        return []
    return [
        sweep_folder(ROOT, device, mode, rate, seed)
        for device in PROFILE.devices
        for mode in PROFILE.modes
        for rate in PROFILE.sweep.rates[device]
        for seed in PROFILE.sweep.seeds
    ]


def figure_tables(wildcards):
    """Tables that a figure is drawn from."""
    return csv(FIGURES[wildcards.figure])


def table_options(wildcards, input):
    """The same as options of the command."""
    return [f"--table {table}" for table in input.tables]


def figure_category(wildcards):
    """Place of a figure in the report."""
    if "hardware" in wildcards.figure:
        return "Hardware"
    return "Theory" if wildcards.figure in THEORY_FIGURES else "Figures"


def figure_label(wildcards):
    """Name of a figure in the report, so that names sort by number."""
    number, _, shows = wildcards.figure.removeprefix("fig").partition("_")
    return {"result": f"fig. {int(number):02d}: {shows}"}


def theory_settings(wildcards):
    """What an experiment of the theory depends on in the profile."""
    if PROFILE.theory is None:
        raise WorkflowError(f"{PROFILE_FILE}: theory: missing, a value is required")
    return PROFILE.theory.model_dump_json()
