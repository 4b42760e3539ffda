"""Measure each analog device of the profile and fit its model."""


rule calibrate:
    input:
        sources("jobs.calibrate"),
        devices=ancient(DEVICES_FILE),
    output:
        tile="<results>/calibration/{device}/device.yaml",
        symmetric="<results>/calibration/{device}/symmetric.yaml",
        response="<results>/calibration/{device}/response.csv",
        elements="<results>/calibration/{device}/elements.csv",
        summary="<results>/calibration/{device}/summary.csv",
    log:
        "<logs>/calibrate/{device}.log",
    conda:
        ENVIRONMENT
    params:
        out=subpath(output.tile, parent=True),
        reruns_when_changed=device_settings,
    shell:
        "python -m analogpipe.jobs.calibrate --devices {input.devices} --name {wildcards.device}"
        " --seed 0 --out {params.out} > {log} 2>&1"


rule calibration:
    input:
        expand(rules.calibrate.output, device=ANALOG),
