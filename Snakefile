"""Calibrate devices, train networks in pipelines, check the theory, aggregate, draw, judge the claims.

snakemake                                       everything of the quick profile
snakemake --config profile=mnist                another profile: config/mnist.yaml, or a path
snakemake data | calibration | training | sweep | theory | ablation | tables | figures   one step and what it needs
snakemake notebook                              the results as a page, results/quick/inspect.html
snakemake results/quick/runs/digits/resmlp8/digital/async/M4/lr0.025/seed0/metrics.csv      one experiment
"""

from snakemake.utils import min_version

min_version("9.13")


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/calibrate.smk"
include: "workflow/rules/copies.smk"
include: "workflow/rules/train.smk"


if PROFILE.sweep:

    include: "workflow/rules/sweep.smk"


include: "workflow/rules/aggregate.smk"
include: "workflow/rules/hardware.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/ablation.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/progress.smk"


rule all:
    default_target: True
    input:
        rules.figures.input,
        rules.tables.input,
