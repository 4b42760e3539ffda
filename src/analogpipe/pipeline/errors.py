"""What a pipeline refuses."""


class StageError(ValueError):
    """A module or a call that a stage cannot handle, or cannot train exactly."""
