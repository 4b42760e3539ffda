"""What keeps an array from learning as digital does: a network on variants of a device, cause by cause."""

if PROFILE.ablation:

    ABLATION_TILE = expand(rules.calibrate.output.tile, device=PROFILE.ablation.device)

    rule ablation_run:
        input:
            sources("jobs.ablation"),
            OWN_MODEL,
            profile=ancient(PROFILE_FILE),
            data=rules.data.output.file,
            tile=ABLATION_TILE,
        output:
            "<results>/ablation/seed{seed}.csv",
        log:
            "<logs>/ablation/seed{seed}.log",
        benchmark:
            "<benchmarks>/ablation/seed{seed}.tsv"
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            gpu=GPUS,
        params:
            root=subpath(output[0], ancestor=2),
            reruns_when_changed=PROFILE.model_dump_json(
                include={
                    "ablation",
                    "dataset",
                    "model",
                    "splits",
                    "training",
                    "compute",
                },
                exclude={"training": UNIMPORTANT, "ablation": {"seeds"}},
            ),
        shell:
            "python -m analogpipe.jobs.ablation --profile {input.profile} --tile {input.tile}"
            " --seed {wildcards.seed} --data {input.data} --threads {threads} --root {params.root}"
            " > {log} 2>&1"

    rule ablation_tables:
        input:
            sources("jobs.ablation_tables"),
            expand(rules.ablation_run.output, seed=PROFILE.ablation.seeds),
            profile=ancient(PROFILE_FILE),
            tile=ABLATION_TILE,
        output:
            csv(layout.ABLATION),
        log:
            "<logs>/ablation/tables.log",
        conda:
            ENVIRONMENT
        params:
            root=subpath(output[0], ancestor=2),
            reruns_when_changed=PROFILE.model_dump_json(include={"ablation"}),
        shell:
            "python -m analogpipe.jobs.ablation_tables --profile {input.profile} --tile {input.tile}"
            " --root {params.root} > {log} 2>&1"


rule ablation:
    input:
        expand(rules.figure.output, figure=ABLATION_FIGURES),
        rules.ablation_tables.output if PROFILE.ablation else [],
