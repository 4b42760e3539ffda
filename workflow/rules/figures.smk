"""Tables to figures: a figure is drawn from the tables named here and from nothing else."""


rule figure:
    input:
        sources("jobs.figure"),
        tables=figure_tables,
    output:
        pdf="<figures>/{figure}.pdf",
        png=report(
            "<figures>/{figure}.png",
            caption="../report/figure.rst",
            category=figure_category,
            labels=figure_label,
        ),
    log:
        "<logs>/figures/{figure}.log",
    conda:
        ENVIRONMENT
    params:
        out=subpath(output.pdf, parent=True),
        tables=table_options,
    shell:
        "python -m analogpipe.jobs.figure --figure {wildcards.figure} {params.tables}"
        " --out {params.out} > {log} 2>&1"


rule device_figure:
    input:
        sources("jobs.device_figure"),
        response=rules.calibrate.output.response,
        elements=rules.calibrate.output.elements,
    output:
        pdf="<figures>/devices/{device}.pdf",
        png=report(
            "<figures>/devices/{device}.png",
            caption="../report/device.rst",
            category="Devices",
            labels={"result": "{device}"},
        ),
    log:
        "<logs>/figures/devices/{device}.log",
    conda:
        ENVIRONMENT
    params:
        calibration=subpath(input.response, parent=True),
        out=subpath(output.pdf, parent=True),
    shell:
        "python -m analogpipe.jobs.device_figure --calibration {params.calibration}"
        " --name {wildcards.device} --out {params.out} > {log} 2>&1"


rule figures:
    input:
        expand(rules.figure.output, figure=FIGURES),
        expand(rules.device_figure.output, device=ANALOG),
