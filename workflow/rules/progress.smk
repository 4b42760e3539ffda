"""A line in the workflow's log after each run: how many are done and left, and when they end."""

from snakemake.logging import logger as workflow_logger

from analogpipe.cli.workflow_log import RunsDone

for rule_name, folders in (("train", run_folders()), ("sweep_run", sweep_folders())):
    workflow_logger.addHandler(
        RunsDone(
            workflow_logger,
            rule_name,
            [str(folder / "metrics.csv") for folder in folders],
        )
    )
