"""What the runs take on accelerators, from the events that they counted."""


rule hardware:
    input:
        sources("jobs.hardware"),
        rules.training.input,
        profile=ancient(PROFILE_FILE),
    output:
        csv(layout.HARDWARE),
    log:
        "<logs>/hardware.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
        reruns_when_changed=PROFILE.model_dump_json(
            exclude={"sweep", "theory", "ablation"}
        ),
    shell:
        "python -m analogpipe.jobs.hardware --profile {input.profile} --root {params.root} > {log} 2>&1"
