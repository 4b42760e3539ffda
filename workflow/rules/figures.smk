"""Tables to figures: a figure is drawn from the tables named here and from nothing else."""


rule figure:
    input:
        sources("figures"),
        tables=figure_tables,
    output:
        pdf=f"{FIGURES}/{{figure}}.pdf",
        png=report(
            f"{FIGURES}/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
    log:
        f"logs/{PROFILE.profile}/figures/{{figure}}.log",
    conda:
        ENVIRONMENT
    params:
        out=subpath(output.pdf, parent=True),
        tables=table_options,
    shell:
        "python -m analogpipe.figures --figure {wildcards.figure} {params.tables}"
        " --out {params.out} > {log} 2>&1"


rule figures:
    input:
        expand(rules.figure.output, figure=DRAWN_FROM),
        expand(rules.theory_figure.output, theory_figure=THEORY_DRAWN_FROM),
