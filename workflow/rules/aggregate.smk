"""Run files to tables, tables to verdicts."""


rule aggregate:
    input:
        sources("results.tables"),
        all_runs,
        expand(rules.calibrate.output.response, device=ANALOG),
        expand(rules.calibrate.output.elements, device=ANALOG),
        rules.execute_schedules.output.schedules,
        profile=ancient(PROFILE_FILE),
    output:
        expand(
            f"{RESULTS}/tables/{{name}}.csv",
            name=["runs", "targets", "response", "calibration", "table1", "table2"],
        ),
        report(
            f"{RESULTS}/tables/table1.html",
            caption="../report/table1.rst",
            category="Tables",
            labels={"result": "table 1"},
        ),
        report(
            f"{RESULTS}/tables/table2.html",
            caption="../report/table2.rst",
            category="Tables",
            labels={"result": "table 2"},
        ),
        expand(
            f"{RESULTS}/tables/{{name}}.{{kind}}",
            name=["table1", "table2"],
            kind=["md", "tex"],
        ),
    log:
        f"logs/{PROFILE.profile}/aggregate.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
        settings=PROFILE.model_dump_json(exclude={"learning_rates", "sweep"}),
    shell:
        "python -m analogpipe.results.tables --profile {input.profile} --root {params.root} > {log} 2>&1"


rule claims:
    input:
        sources("claims.claims"),
        profile=ancient(PROFILE_FILE),
        runs=f"{RESULTS}/tables/runs.csv",
        targets=f"{RESULTS}/tables/targets.csv",
        schedules=rules.execute_schedules.output.schedules,
        weights=rules.execute_schedules.output.weights,
        theory=theory_evidence,
    output:
        report(
            f"{RESULTS}/tables/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"result": "claims"},
        ),
        expand(f"{RESULTS}/tables/claims.{{kind}}", kind=["csv", "md", "tex"]),
    log:
        f"logs/{PROFILE.profile}/claims.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
    shell:
        "python -m analogpipe.claims.claims --profile {input.profile} --root {params.root} > {log} 2>&1"


rule tables:
    input:
        rules.aggregate.output,
        rules.claims.output,
        theory_evidence,
