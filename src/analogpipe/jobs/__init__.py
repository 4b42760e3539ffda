"""The jobs of the workflow, a command each: ``python -m analogpipe.jobs.NAME OPTIONS``."""
