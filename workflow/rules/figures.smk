"""Tables to figures: a figure is drawn from the tables named here and from nothing else."""

DRAWN_FROM = {
    "fig1_schedules": ["schedules/schedules.csv", "tables/table1.csv"],
    "fig2_device": ["tables/response.csv", "tables/calibration.csv"],
    "fig3_convergence": ["tables/runs.csv", "tables/targets.csv"],
    "fig4_accuracy": ["tables/table2.csv"],
    "fig5_speedup": ["tables/targets.csv", "tables/table1.csv"],
}
if not ANALOG:
    del DRAWN_FROM["fig2_device"]


def figure_tables(wildcards):
    """Tables that a figure is drawn from."""
    return [f"{RESULTS}/{table}" for table in DRAWN_FROM[wildcards.figure]]


def table_options(wildcards):
    """The same as options of the command."""
    return [f"--table {table}" for table in figure_tables(wildcards)]


rule figure:
    input:
        sources("figures"),
        tables=figure_tables,
    output:
        pdf=f"{FIGURES}/{{figure}}.pdf",
        png=f"{FIGURES}/{{figure}}.png",
    log:
        f"logs/{PROFILE.profile}/figures/{{figure}}.log",
    conda:
        ENVIRONMENT
    params:
        out=FIGURES,
        tables=table_options,
    shell:
        "python -m analogpipe.figures --figure {wildcards.figure} {params.tables}"
        " --out {params.out} > {log} 2>&1"


rule figures:
    input:
        expand(rules.figure.output, figure=DRAWN_FROM),
