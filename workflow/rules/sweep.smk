"""The sweep that the profile's learning rates come from: asked for by name, not part of `all`."""


rule sweep_run:
    input:
        sources("jobs.train"),
        OWN_MODEL,
        profile=ancient(PROFILE_FILE),
        data=rules.data.output.file,
        tile=tile,
    output:
        of_seeds(SWEEP_RUN, "metrics.csv", PROFILE.sweep.seeds),
        of_seeds(SWEEP_RUN, "run.json", PROFILE.sweep.seeds),
    log:
        f"<logs>/sweep/{{device}}-{{mode}}-lr{{rate}}{ONE_SEED}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=GPUS,
    params:
        out=subpath(output[0], ancestor=2),
        seeds=lambda wildcards: seed_options(wildcards, PROFILE.sweep.seeds),
        tile=tile_option,
        stages=PROFILE.sweep.stages,
        reruns_when_changed=run_settings,
    shell:
        "python -m analogpipe.jobs.train --profile {input.profile} --device {wildcards.device}"
        " --mode {wildcards.mode} --stages {params.stages} --rate {wildcards.rate}"
        " {params.seeds} {params.tile} --data {input.data} --validation"
        " --threads {threads} --out {params.out} > {log} 2>&1"


rule sweep:
    input:
        sources("jobs.sweep"),
        [
            folder / name
            for folder in sweep_folders()
            for name in ("metrics.csv", "run.json")
        ],
        profile=ancient(PROFILE_FILE),
    output:
        csv([layout.SWEEP, layout.PICKS]),
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
