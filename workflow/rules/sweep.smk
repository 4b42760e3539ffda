"""The sweep that the profile's learning rates come from: asked for by name, not part of `all`."""


rule sweep_run:
    input:
        sources("jobs.train"),
        OWN_MODEL,
        profile=ancient(PROFILE_FILE),
        data=rules.data.output.file,
        tile=tile,
    output:
        metrics="<sweep_run>/metrics.csv",
        record="<sweep_run>/run.json",
    log:
        "<logs>/sweep/{device}-{mode}-lr{rate}-seed{seed}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=GPUS,
    params:
        out=subpath(output.metrics, parent=True),
        tile=tile_option,
        stages=PROFILE.sweep.stages,
        reruns_when_changed=run_settings,
    shell:
        "python -m analogpipe.jobs.train --profile {input.profile} --device {wildcards.device}"
        " --mode {wildcards.mode} --stages {params.stages} --seed {wildcards.seed}"
        " {params.tile} --data {input.data} --learning-rate {wildcards.rate} --validation"
        " --threads {threads} --out {params.out} > {log} 2>&1"


rule sweep:
    input:
        sources("jobs.sweep"),
        [folder / "metrics.csv" for folder in sweep_folders()],
        profile=ancient(PROFILE_FILE),
    output:
        tables([layout.SWEEP]),
    log:
        "<logs>/sweep.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
        reruns_when_changed=PROFILE.model_dump_json(
            include={"devices", "modes", "sweep"}
        ),
    shell:
        "python -m analogpipe.jobs.sweep --profile {input.profile} --root {params.root} 2>&1 | tee {log}"
