"""One training run is one job and one folder; the schedules are executed once for the record."""


rule train:
    input:
        sources("jobs.train"),
        OWN_MODEL,
        profile=ancient(PROFILE_FILE),
        data=rules.data.output.file,
        tile=tile,
    output:
        metrics="<run>/metrics.csv",
        record="<run>/run.json",
        schedule="<run>/schedule.txt",
    log:
        "<logs>/train/{device}-{mode}-M{stages}-seed{seed}.log",
    benchmark:
        "<benchmarks>/train/{device}-{mode}-M{stages}-seed{seed}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=GPUS,
    params:
        out=subpath(output.metrics, parent=True),
        tile=tile_option,
        reruns_when_changed=run_settings,
    shell:
        "python -m analogpipe.jobs.train --profile {input.profile} --device {wildcards.device}"
        " --mode {wildcards.mode} --stages {wildcards.stages} --seed {wildcards.seed}"
        " {params.tile} --data {input.data} --threads {threads} --out {params.out} > {log} 2>&1"


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
        [folder / "metrics.csv" for folder in run_folders()],
        [folder / "run.json" for folder in run_folders()],
