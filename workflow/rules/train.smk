"""One training run is one job and one folder; the schedules are executed once for the record."""


rule train:
    input:
        sources("jobs.train"),
        profile=ancient(PROFILE_FILE),
        data=rules.data.output.file,
        tile=tile,
    output:
        metrics=f"{RUN}/metrics.csv",
        record=f"{RUN}/run.json",
        schedule=f"{RUN}/schedule.txt",
    log:
        f"logs/{PROFILE.profile}/train/{{device}}-{{mode}}-M{{stages}}-seed{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=GPUS,
    params:
        out=subpath(output.metrics, parent=True),
        tile=tile_option,
        settings=run_settings,
    shell:
        "python -m analogpipe.jobs.train --profile {input.profile} --device {wildcards.device}"
        " --mode {wildcards.mode} --stages {wildcards.stages} --seed {wildcards.seed}"
        " {params.tile} --data {input.data} --threads {threads} --out {params.out} > {log} 2>&1"


rule execute_schedules:
    input:
        sources("jobs.execute_schedules"),
        profile=ancient(PROFILE_FILE),
        data=rules.data.output.file,
    output:
        schedules=f"{RESULTS}/schedules/schedules.csv",
        weights=f"{RESULTS}/schedules/weights.csv",
    log:
        f"logs/{PROFILE.profile}/execute_schedules.log",
    conda:
        ENVIRONMENT
    resources:
        gpu=GPUS,
    params:
        out=subpath(output.schedules, parent=True),
        settings=PROFILE.model_dump_json(
            include={"dataset", "model", "modes", "stages", "training", "compute"},
            exclude={"training": UNIMPORTANT},
        ),
    shell:
        "python -m analogpipe.jobs.execute_schedules --profile {input.profile} --data {input.data}"
        " --out {params.out} > {log} 2>&1"


rule training:
    input:
        all_runs,
