"""The pipeline: stages that carry out a schedule, in one process or in many."""
