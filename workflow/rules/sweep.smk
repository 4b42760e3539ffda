"""The sweep that the profile's learning rates come from: asked for by name, not part of `all`."""


rule sweep_run:
    input:
        sources("jobs.train"),
        profile=ancient(PROFILE_FILE),
        data=rules.data.output.file,
        tile=tile,
    output:
        metrics=f"{SWEEP}/metrics.csv",
        record=f"{SWEEP}/run.json",
    log:
        f"logs/{PROFILE.profile}/sweep/{{device}}-{{mode}}-lr{{rate}}-seed{{seed}}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=GPUS,
    params:
        out=subpath(output.metrics, parent=True),
        tile=tile_option,
        settings=run_settings,
        stages=PROFILE.sweep.stages,
    shell:
        "python -m analogpipe.jobs.train --profile {input.profile} --device {wildcards.device}"
        " --mode {wildcards.mode} --stages {params.stages} --seed {wildcards.seed}"
        " {params.tile} --data {input.data} --learning-rate {wildcards.rate} --validation"
        " --threads {threads} --out {params.out} > {log} 2>&1"


rule sweep:
    input:
        sources("results.sweep"),
        all_sweeps,
        profile=ancient(PROFILE_FILE),
    output:
        table=f"{RESULTS}/tables/sweep.csv",
    log:
        f"logs/{PROFILE.profile}/sweep.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output.table, ancestor=2),
        settings=PROFILE.model_dump_json(include={"devices", "modes", "sweep"}),
    shell:
        "python -m analogpipe.results.sweep --profile {input.profile} --root {params.root} 2>&1 | tee {log}"
