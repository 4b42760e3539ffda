"""The images of the profile, downloaded or decoded once, for all runs to share."""


# On a cluster too it runs where Snakemake does: the other nodes seldom reach the Internet.
rule data:
    input:
        sources("jobs.data"),
        OWN_DATA,
        profile=ancient(PROFILE_FILE),
    output:
        file="<results>/data.safetensors",
    log:
        "<logs>/data.log",
    localrule: True
    conda:
        ENVIRONMENT
    params:
        reruns_when_changed=PROFILE.dataset.source,
    shell:
        "python -m analogpipe.jobs.data --profile {input.profile} --out {output.file} 2>&1 | tee {log}"
