"""Run files to tables, tables to verdicts."""


rule aggregate:
    input:
        sources("jobs.aggregate"),
        rules.training.input,
        expand(rules.calibrate.output.response, device=ANALOG),
        expand(rules.calibrate.output.elements, device=ANALOG),
        csv(layout.SCHEDULES[:1]),
        profile=ancient(PROFILE_FILE),
    output:
        tables(layout.AGGREGATED),
        report(
            "<results>/tables/table1.html",
            caption="../report/table1.rst",
            category="Tables",
            labels={"result": "table 1"},
        ),
        report(
            "<results>/tables/table2.html",
            caption="../report/table2.rst",
            category="Tables",
            labels={"result": "table 2"},
        ),
    log:
        "<logs>/aggregate.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
        reruns_when_changed=PROFILE.model_dump_json(
            exclude={"sweep", "theory", "ablation"}
        ),
    shell:
        "python -m analogpipe.jobs.aggregate --profile {input.profile} --root {params.root} > {log} 2>&1"


rule pairs:
    input:
        sources("jobs.pairs"),
        rules.training.input,
        csv(["tables/runs", "tables/ladder", "tables/hardware"]),
        profile=ancient(PROFILE_FILE),
    output:
        tables(layout.PAIRED),
        report(
            "<results>/tables/headline.html",
            caption="../report/headline.rst",
            category="Claims",
            labels={"result": "headline"},
        ),
    log:
        "<logs>/pairs.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
        reruns_when_changed=PROFILE.model_dump_json(
            exclude={"sweep", "theory", "ablation"}
        ),
    shell:
        "python -m analogpipe.jobs.pairs --profile {input.profile} --root {params.root} > {log} 2>&1"


rule claims:
    input:
        sources("jobs.claims"),
        csv(layout.EVIDENCE),
        csv([layout.COPIES]),
        csv(layout.THEORY_EVIDENCE if PROFILE.theory else ()),
        profile=ancient(PROFILE_FILE),
    output:
        tables(layout.JUDGED),
        report(
            "<results>/tables/answers.html",
            caption="../report/answers.rst",
            category="Claims",
            labels={"result": "answers"},
        ),
        report(
            "<results>/tables/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "claims"},
        ),
        report(
            "<results>/tables/checks.html",
            caption="../report/checks.rst",
            category="Claims",
            labels={"result": "checks"},
        ),
    log:
        "<logs>/claims.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
    shell:
        "python -m analogpipe.jobs.claims --profile {input.profile} --root {params.root} > {log} 2>&1"


rule tables:
    input:
        rules.aggregate.output,
        rules.claims.output,
        rules.pairs.output,
        csv(layout.HARDWARE),
        csv([layout.COPIES]),
        csv(layout.THEORY_EVIDENCE if PROFILE.theory else ()),
