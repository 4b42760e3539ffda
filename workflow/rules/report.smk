"""For readers: the notebook as a page; the captions of the report that `make report` builds."""


report: "../report/workflow.rst"


rule notebook:
    input:
        sources("calibration.calibrate"),
        sources("results.compare"),
        sources("results.load"),
        sources("figures.gantt"),
        rules.training.input,
        expand("<results>/tables/{table}.csv", table=["runs", "headline", "table2"]),
        notebook=f"{workflow.basedir}/workflow/notebooks/inspect.ipynb",
        template=f"{workflow.basedir}/workflow/notebooks/offline/index.html.j2",
        profile=ancient(PROFILE_FILE),
    output:
        report(
            "<results>/inspect.html",
            caption="../report/notebook.rst",
            category="Notebook",
            labels={"result": "single runs"},
        ),
    log:
        "<logs>/notebook.log",
    conda:
        ENVIRONMENT
    params:
        out=subpath(output[0], parent=True),
        name=subpath(output[0], basename=True),
        templates=subpath(input.template, ancestor=2),
    shell:
        'ANALOGPIPE_FOLDER="$PWD" ANALOGPIPE_PROFILE={input.profile}'
        " python -m jupyter nbconvert --to html --execute {input.notebook}"
        " --template offline --TemplateExporter.extra_template_basedirs={params.templates}"
        ' --output-dir "$PWD"/{params.out} --output {params.name} > {log} 2>&1'
