"""One training run is one folder, and one job, or one of the runs of a job; the schedules are executed once for the
record."""


rule train:
    input:
        sources("jobs.train"),
        OWN_MODEL,
        profile=ancient(PROFILE_FILE),
        data=rules.data.output.file,
        tile=tile,
    output:
        of_seeds(RUN, "metrics.csv", PROFILE.seeds),
        of_seeds(RUN, "curve.csv", PROFILE.seeds),
        of_seeds(RUN, "tested.csv", PROFILE.seeds),
        of_seeds(RUN, "run.json", PROFILE.seeds),
        of_seeds(RUN, "schedule.txt", PROFILE.seeds),
    log:
        f"<logs>/train/{{device}}-{{mode}}-M{{stages}}-lr{{rate}}{ONE_SEED}.log",
    benchmark:
        f"<benchmarks>/train/{{device}}-{{mode}}-M{{stages}}-lr{{rate}}{ONE_SEED}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=GPUS,
    params:
        out=subpath(output[0], ancestor=2),
        seeds=lambda wildcards: seed_options(wildcards, PROFILE.seeds),
        tile=tile_option,
        reruns_when_changed=run_settings,
    shell:
        "python -m analogpipe.jobs.train --profile {input.profile} --device {wildcards.device}"
        " --mode {wildcards.mode} --stages {wildcards.stages} --rate {wildcards.rate}"
        " {params.seeds} {params.tile} --data {input.data} --threads {threads} --out {params.out}"
        " > {log} 2>&1"


rule execute_schedules:
    input:
        sources("jobs.execute_schedules"),
        OWN_MODEL,
        profile=ancient(PROFILE_FILE),
        data=rules.data.output.file,
    output:
        csv(layout.SCHEDULES),
    log:
        "<logs>/execute_schedules.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=GPUS,
    params:
        out=subpath(output[0], parent=True),
        reruns_when_changed=PROFILE.model_dump_json(
            include={"dataset", "model", "modes", "stages", "training", "compute"},
            exclude={"training": UNIMPORTANT},
        ),
    shell:
        "python -m analogpipe.jobs.execute_schedules --profile {input.profile} --data {input.data}"
        " --out {params.out} > {log} 2>&1"


rule training:
    input:
        [
            folder / name
            for folder in run_folders()
            for name in ("metrics.csv", "curve.csv", "tested.csv", "run.json")
        ],
