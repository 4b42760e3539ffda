"""The theory, checked on problems with known constants: experiments, and tables with fits."""


rule theory_run:
    input:
        sources("jobs.theory_run"),
        profile=ancient(PROFILE_FILE),
    output:
        "<results>/theory/{experiment}.csv",
    log:
        "<logs>/theory/{experiment}.log",
    conda:
        ENVIRONMENT
    threads: 1
    params:
        root=subpath(output[0], ancestor=2),
        reruns_when_changed=theory_settings,
    shell:
        "python -m analogpipe.jobs.theory_run --experiment {wildcards.experiment}"
        " --profile {input.profile} --root {params.root} > {log} 2>&1"


rule theory_tables:
    input:
        sources("jobs.theory_tables"),
        expand(rules.theory_run.output, experiment=layout.EXPERIMENTS),
        profile=ancient(PROFILE_FILE),
    output:
        tables(layout.THEORY),
        report(
            "<results>/tables/table3.html",
            caption="../report/table3.rst",
            category="Theory",
            labels={"result": "table 3"},
        ),
    log:
        "<logs>/theory/tables.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
    shell:
        "python -m analogpipe.jobs.theory_tables --profile {input.profile} --root {params.root}"
        " > {log} 2>&1"


rule theory:
    input:
        expand(rules.figure.output, figure=THEORY_FIGURES),
        rules.theory_tables.output if PROFILE.theory else [],
