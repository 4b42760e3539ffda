"""A line in the workflow's log after each run: how many are done and left, and when they end."""

from snakemake.logging import logger as workflow_logger

from analogpipe.cli.workflow_log import RunsDone

workflow_logger.addHandler(
    RunsDone(
        workflow_logger,
        "train",
        [path for path in all_runs(None) if path.endswith("metrics.csv")],
    )
)
workflow_logger.addHandler(RunsDone(workflow_logger, "sweep_run", all_sweeps(None)))
