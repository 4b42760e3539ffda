"""AIHWKit's users: its configurations read and written, its layers in a pipeline."""
