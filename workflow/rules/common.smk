"""The profile, checked before anything runs, and the paths that the rules share."""

import os
import sys
from itertools import accumulate
from pathlib import Path

import grimp
from snakemake.exceptions import WorkflowError

import analogpipe
from analogpipe.files import FileError
from analogpipe.profile.profile import DIGITAL, load_devices, load_profile

# A profile and a devices file are ancient inputs: params say which part of them a job depends on, so
# that an edit reruns what it touches.
# The jobs run with the Python that runs the workflow, whether its environment is activated or not.
shell.prefix(f'export PATH="{Path(sys.executable).parent}:$PATH"; ')

LIBRARY = grimp.build_graph("analogpipe", cache_dir=None)
SOURCES = Path(os.path.relpath(Path(analogpipe.__file__).parent))
ENVIRONMENT = Path(workflow.basedir) / "environment.yml"
PROFILE_FILE = str(config.get("profile", "quick"))
if not PROFILE_FILE.endswith((".yaml", ".yml")):
    PROFILE_FILE = os.path.relpath(
        Path(workflow.basedir) / "config" / f"{PROFILE_FILE}.yaml"
    )
try:
    PROFILE = load_profile(Path(PROFILE_FILE))
    DEVICES_FILE = os.path.relpath(Path(PROFILE_FILE).parent / PROFILE.devices_file)
    DEVICES = load_devices(Path(DEVICES_FILE)) if PROFILE.analog_devices else {}
except FileError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{PROFILE.profile}"
FIGURES = f"paper_figures/{PROFILE.profile}"
RUN = f"{RESULTS}/runs/{PROFILE.dataset.name}/{PROFILE.model.name}/{{device}}/{{mode}}/M{{stages}}/seed{{seed}}"
SWEEP = f"{RESULTS}/sweep/{{device}}/{{mode}}/lr{{rate}}/seed{{seed}}"
ANALOG = PROFILE.analog_devices
GPUS = int(PROFILE.compute.device == "cuda")
UNIMPORTANT = {"checkpoint_every"}  # keys of training that change no result

# A figure is drawn from these tables and from nothing else.
DRAWN_FROM = {
    "fig1_schedules": ["schedules/schedules.csv", "tables/table1.csv"],
    "fig2_device": ["tables/response.csv", "tables/calibration.csv"],
    "fig3_convergence": ["tables/runs.csv", "tables/targets.csv"],
    "fig4_accuracy": ["tables/table2.csv"],
    "fig5_speedup": ["tables/targets.csv", "tables/table1.csv"],
}
if not ANALOG:
    del DRAWN_FROM["fig2_device"]

# The same for the figures of the theory, where the profile asks for it.
THEORY_TABLES = [
    "theory_rates",
    "theory_price",
    "theory_targets",
    "theory_floor",
    "theory_network",
    "theory_interaction",
    "theory_checks",
]
THEORY_DRAWN_FROM = {
    "fig6_slopes": ["tables/theory_rates.csv", "tables/table3.csv"],
    "fig7_floor": ["tables/theory_floor.csv"],
    "fig8_price": ["tables/theory_price.csv"],
    "fig9_targets": ["tables/theory_targets.csv"],
    "fig10_ablation": ["tables/theory_floor.csv", "tables/theory_network.csv"],
}
if PROFILE.theory is None:
    THEORY_DRAWN_FROM = {}


wildcard_constraints:
    device="[A-Za-z0-9.-]+",
    mode="[A-Za-z0-9.-]+",
    stages=r"\d+",
    seed=r"\d+",
    rate=r"[0-9.e-]+",
    figure="fig[1-5]_[a-z]+",
    theory_figure="fig([6-9]|10)_[a-z]+",
    experiment="rates-digital|rates-linear|floor|network",


def sources(module):
    """Sources of a module of the library and of all that it imports from the library.

    The packages that they lie in are among them: Python runs those on the way.
    """
    name = f"analogpipe.{module}"
    found = {name} | LIBRARY.find_upstream_modules(name)
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


def device_settings(wildcards):
    """What the calibration of a device depends on: its entry in the devices file alone."""
    return DEVICES[wildcards.device].model_dump_json()


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
            int(
                wildcards.stages
                if "stages" in wildcards.keys()
                else PROFILE.sweep.stages
            ),
            int(wildcards.seed),
            learning_rate=(
                float(wildcards.rate)
                if "rate" in wildcards.keys()
                else PROFILE.learning_rates[wildcards.device][wildcards.mode]
            ),
            validation="rate" in wildcards.keys(),
        )
    except (FileError, KeyError) as error:
        raise WorkflowError(f"{PROFILE_FILE}: no such run: {error}") from None
    return run.model_dump_json(
        exclude={"device": True, "tile": True, "training": UNIMPORTANT}
    )


def all_runs(wildcards):
    """Every run that the tables need."""
    return [
        path
        for mode in PROFILE.modes
        for path in expand(
            [f"{RUN}/metrics.csv", f"{RUN}/run.json"],
            device=PROFILE.devices,
            mode=mode,
            stages=PROFILE.trained_stages(mode),
            seed=PROFILE.seeds,
        )
    ]


def all_sweeps(wildcards):
    """Every run of the sweep."""
    if PROFILE.sweep is None:
        return []
    return [
        path
        for device in PROFILE.devices
        for path in expand(
            f"{SWEEP}/metrics.csv",
            device=device,
            mode=PROFILE.modes,
            rate=[f"{rate:g}" for rate in PROFILE.sweep.rates[device]],
            seed=PROFILE.sweep.seeds,
        )
    ]


def figure_tables(wildcards):
    """Tables that a figure is drawn from."""
    if "figure" in wildcards.keys():
        tables = DRAWN_FROM[wildcards.figure]
    else:
        tables = THEORY_DRAWN_FROM.get(wildcards.theory_figure, [])
    return [f"{RESULTS}/{table}" for table in tables]


def table_options(wildcards):
    """The same as options of the command."""
    return [f"--table {table}" for table in figure_tables(wildcards)]


def figure_label(wildcards):
    """Name of a figure in the report, so that names sort by number."""
    name = wildcards.get("figure") or wildcards.get("theory_figure")
    number, _, shows = name.removeprefix("fig").partition("_")
    return {"result": f"fig. {int(number):02d}: {shows}"}


def theory_evidence(wildcards):
    """Tables of the theory by which claims are judged; none where the profile has no theory."""
    names = ["table3", "theory_checks"] if PROFILE.theory else []
    return [f"{RESULTS}/tables/{name}.csv" for name in names]


def theory_gpus(wildcards):
    """GPUs of an experiment of the theory: only the network computes where the profile says."""
    return GPUS if wildcards.experiment == "network" else 0


def theory_settings(wildcards):
    """What an experiment of the theory depends on in the profile."""
    if PROFILE.theory is None:
        raise WorkflowError(f"{PROFILE_FILE}: theory: missing, a value is required")
    if wildcards.experiment != "network":
        return PROFILE.theory.model_dump_json(exclude={"network"})
    chosen = PROFILE.theory.network
    device = DEVICES[chosen.device].model_dump_json()
    rates = [PROFILE.learning_rates[chosen.device][m] for m in ("sequential", "async")]
    keys = {"dataset", "model", "stages", "training", "compute"}
    settings = PROFILE.model_dump_json(include=keys, exclude={"training": UNIMPORTANT})
    return f"{chosen.model_dump_json()} {device} {rates} {settings}"
