# The commands of the README. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PROFILE ?= quick

.DEFAULT_GOAL := help
.PHONY: help setup

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## create .venv from requirements.lock and install the package
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"analogpipe needs Python 3.11 or newer, $(PYTHON) is {v.major}.{v.minor}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	@# the lock holds all of it: without --no-deps pip would ask for newer releases of what others want with extras
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: figures report sweep unlock docs reference lock test test-all coverage test-slurm test-report check peer bench-analog bench-pipeline clean

# What Snakemake says of a lock names an option of its own; with make it is a target.
LOCKED = { ! ls .snakemake/locks/*.lock >/dev/null 2>&1 || echo "Another snakemake works in this folder, or one was \
	killed (its jobs go on to their ends). If none does any more: make unlock" >&2; exit 1; }

figures: $(READY)  ## run the whole workflow (PROFILE=quick) and print the claims
	@$(BIN)/snakemake --quiet rules --config profile=$(PROFILE) || $(LOCKED)
	@$(BIN)/python -m analogpipe.jobs.claims --profile config/$(PROFILE).yaml --root results/$(PROFILE) --show

report: figures  ## build the report of PROFILE, results/PROFILE/report.html, for a browser
	$(BIN)/snakemake --quiet rules --config profile=$(PROFILE) -- all notebook || $(LOCKED)
	$(BIN)/snakemake --report results/$(PROFILE)/report.html --report-stylesheet workflow/report/style.css \
	  --config profile=$(PROFILE) -- all notebook

sweep: $(READY)  ## run the sweep that the learning rates come from (PROFILE=quick)
	$(BIN)/snakemake --config profile=$(PROFILE) -- sweep || $(LOCKED)

unlock: $(READY)  ## let the workflow start again after a kill -9 of snakemake
	@$(BIN)/snakemake --quiet all --unlock --config profile=$(PROFILE)

test: $(READY)  ## run the tests
	$(BIN)/python -m pytest -q

test-all: $(READY)  ## run all tests, the slow ones too
	$(BIN)/python -m pytest -q -m 'not gpu and not slurm'

test-slurm: $(READY)  ## start a Slurm cluster of one machine and kill one of its jobs (root; installs slurm-wlm)
	tests/slurm/install.sh
	$(BIN)/python -m pip install --quiet --no-build-isolation --editable '.[slurm]'
	$(BIN)/python -m pytest -q -s -m slurm

coverage: $(READY)  ## run the tests and say which lines of src they reach
	$(BIN)/python -m pytest -q --cov=analogpipe --cov-report=term:skip-covered

test-report: $(READY)  ## look at the tiny profile's report in a headless browser (chromium; else it is skipped)
	$(BIN)/python -m pytest -q -rs -m browser

check: $(READY)  ## types, imports, style and workflow lint
	$(BIN)/mypy src
	$(BIN)/lint-imports --no-cache
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

docs: $(READY)  ## write the configuration reference and the JSON schemas from the models
	$(BIN)/python -m analogpipe.jobs.reference --schemas workflow/schemas --page docs/config.md

reference: $(READY)  ## keep the tables and figures of PROFILE as reference results
	mkdir -p results/reference/$(PROFILE)
	cp results/$(PROFILE)/tables/*.csv results/$(PROFILE)/tables/*.md paper_figures/$(PROFILE)/*.png results/reference/$(PROFILE)/

lock: pyproject.toml  ## renew requirements.lock from pyproject.toml (needs uv)
	uv pip compile --quiet pyproject.toml --extra dev --universal --python-version 3.11 \
	  --no-strip-extras --generate-hashes --no-header --no-annotate --output-file requirements.lock

peer: $(READY)  ## install AIHWKit, which the peer tests and benchmarks compare with
	$(BIN)/python -m pip install --quiet --no-deps aihwkit==1.1.0

bench-analog: peer  ## time the analog layers against AIHWKit and digital torch
	$(BIN)/python benchmarks/bench_analog.py

bench-pipeline: $(READY)  ## time the engine and real processes
	$(BIN)/python benchmarks/bench_pipeline.py

clean:  ## remove results, figures and logs of PROFILE, not the environment
	rm -rf results/$(PROFILE) paper_figures/$(PROFILE) logs/$(PROFILE)
