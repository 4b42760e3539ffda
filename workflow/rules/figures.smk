"""Tables to figures: a figure is drawn from the tables named here and from nothing else."""


rule figure:
    input:
        sources("figures.paper"),
        tables=figure_tables,
    output:
        pdf=f"{FIGURES}/{{figure}}.pdf",
        png=report(
            f"{FIGURES}/{{figure}}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels=figure_label,
        ),
    log:
        f"logs/{PROFILE.profile}/figures/{{figure}}.log",
    conda:
        ENVIRONMENT
    params:
        out=subpath(output.pdf, parent=True),
        tables=table_options,
    shell:
        "python -m analogpipe.figures.paper --figure {wildcards.figure} {params.tables}"
        " --out {params.out} > {log} 2>&1"


rule device_figure:
    input:
        sources("figures.device"),
        response=rules.calibrate.output.response,
        elements=rules.calibrate.output.elements,
    output:
        pdf=f"{FIGURES}/devices/{{device}}.pdf",
        png=report(
            f"{FIGURES}/devices/{{device}}.png",
            caption="../report/device.rst",
            category="Devices",
            labels={"result": "{device}"},
        ),
    log:
        f"logs/{PROFILE.profile}/figures/devices/{{device}}.log",
    conda:
        ENVIRONMENT
    params:
        calibration=subpath(input.response, parent=True),
        out=subpath(output.pdf, parent=True),
    shell:
        "python -m analogpipe.figures.device --calibration {params.calibration}"
        " --name {wildcards.device} --out {params.out} > {log} 2>&1"


rule figures:
    input:
        expand(rules.figure.output, figure=DRAWN_FROM),
        expand(rules.device_figure.output, device=ANALOG),
        expand(rules.theory_figure.output, theory_figure=THEORY_DRAWN_FROM),
