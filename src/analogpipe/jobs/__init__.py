"""Jobs: one file for each kind of job of the workflow, run as ``python -m analogpipe.jobs.NAME``."""
