"""Run files to tables, tables to verdicts."""

FOR_PEOPLE = ["csv", "md", "tex"]


rule aggregate:
    input:
        sources("results"),
        all_runs,
        expand(rules.calibrate.output.response, device=ANALOG),
        expand(rules.calibrate.output.elements, device=ANALOG),
        rules.execute_schedules.output.schedules,
        profile=ancient(PROFILE_FILE),
    output:
        expand(
            f"{RESULTS}/tables/{{name}}.csv",
            name=["runs", "targets", "response", "calibration"],
        ),
        expand(
            f"{RESULTS}/tables/{{name}}.{{kind}}",
            name=["table1", "table2"],
            kind=FOR_PEOPLE,
        ),
    log:
        f"logs/{PROFILE.profile}/aggregate.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
        settings=PROFILE.model_dump_json(exclude={"learning_rates", "sweep"}),
    shell:
        "python -m analogpipe.results --profile {input.profile} --root {params.root} > {log} 2>&1"


rule claims:
    input:
        sources("claims"),
        profile=ancient(PROFILE_FILE),
        runs=f"{RESULTS}/tables/runs.csv",
        targets=f"{RESULTS}/tables/targets.csv",
        schedules=rules.execute_schedules.output.schedules,
        weights=rules.execute_schedules.output.weights,
        theory=theory_evidence,
    output:
        expand(f"{RESULTS}/tables/claims.{{kind}}", kind=FOR_PEOPLE),
    log:
        f"logs/{PROFILE.profile}/claims.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
    shell:
        "python -m analogpipe.claims --profile {input.profile} --root {params.root} > {log} 2>&1"


rule tables:
    input:
        rules.aggregate.output,
        rules.claims.output,
        theory_evidence,
