"""What a copy of weights costs: a layer, copied between arrays of each calibrated device."""


rule copies:
    input:
        sources("jobs.copies"),
        expand(rules.calibrate.output.tile, device=ANALOG),
        profile=ancient(PROFILE_FILE),
    output:
        csv([layout.COPIES]),
    log:
        "<logs>/copies.log",
    conda:
        ENVIRONMENT
    params:
        root=subpath(output[0], ancestor=2),
        reruns_when_changed=PROFILE.model_dump_json(include={"devices", "seeds"}),
    shell:
        "python -m analogpipe.jobs.copies --profile {input.profile} --root {params.root} > {log} 2>&1"
