"""Measure each analog device of the profile and fit its model."""


rule calibrate:
    input:
        sources("calibration.calibrate"),
        devices=ancient(DEVICES_FILE),
    output:
        tile=f"{RESULTS}/calibration/{{device}}/device.yaml",
        response=f"{RESULTS}/calibration/{{device}}/response.csv",
        elements=f"{RESULTS}/calibration/{{device}}/elements.csv",
        summary=f"{RESULTS}/calibration/{{device}}/summary.csv",
    log:
        f"logs/{PROFILE.profile}/calibrate/{{device}}.log",
    conda:
        ENVIRONMENT
    params:
        out=subpath(output.tile, parent=True),
        settings=device_settings,
    shell:
        "python -m analogpipe.calibration.calibrate --devices {input.devices} --name {wildcards.device}"
        " --seed 0 --out {params.out} > {log} 2>&1"


rule calibration:
    input:
        expand(rules.calibrate.output, device=ANALOG),
