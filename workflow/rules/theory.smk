"""The theory, checked on problems with known constants: experiments, tables with fits, figures."""


rule theory_run:
    input:
        sources("theory.runs"),
        profile=ancient(PROFILE_FILE),
        data=rules.data.output.file,
    output:
        f"{RESULTS}/theory/{{experiment}}.csv",
    log:
        f"logs/{PROFILE.profile}/theory/{{experiment}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=theory_gpus,
    params:
        out=subpath(output[0], parent=True),
        settings=theory_settings,
    shell:
        "python -m analogpipe.theory.runs --experiment {wildcards.experiment}"
        " --profile {input.profile} --data {input.data} --out {params.out} > {log} 2>&1"


rule theory_tables:
    input:
        sources("theory.tables"),
        expand(
            rules.theory_run.output,
            experiment=["network", "floor", "rates-linear", "rates-digital"],
        ),
        profile=ancient(PROFILE_FILE),
    output:
        expand(f"{RESULTS}/tables/{{name}}.csv", name=THEORY_TABLES),
        report(
            f"{RESULTS}/tables/table3.html",
            caption="../report/table3.rst",
            category="Theory",
            labels={"result": "table 3"},
        ),
        expand(f"{RESULTS}/tables/table3.{{kind}}", kind=["csv", "md", "tex"]),
    log:
        f"logs/{PROFILE.profile}/theory/tables.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
    shell:
        "python -m analogpipe.theory.tables --profile {input.profile} --root {params.root}"
        " > {log} 2>&1"


rule theory_figure:
    input:
        sources("figures.theory"),
        tables=figure_tables,
    output:
        pdf=f"{FIGURES}/{{theory_figure}}.pdf",
        png=report(
            f"{FIGURES}/{{theory_figure}}.png",
            caption="../report/figure.rst",
            category="Theory",
            labels=figure_label,
        ),
    log:
        f"logs/{PROFILE.profile}/figures/{{theory_figure}}.log",
    conda:
        ENVIRONMENT
    params:
        out=subpath(output.pdf, parent=True),
        tables=table_options,
    shell:
        "python -m analogpipe.figures.theory --figure {wildcards.theory_figure} {params.tables}"
        " --out {params.out} > {log} 2>&1"


rule theory:
    input:
        expand(rules.theory_figure.output, theory_figure=THEORY_DRAWN_FROM),
        rules.theory_tables.output if PROFILE.theory else [],
