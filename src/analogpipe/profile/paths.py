"""Where the files of a profile lie."""

from pathlib import Path


def profile_file(name: str) -> Path:
    """Return the file of a profile: a path to YAML as it is, or config/NAME.yaml for a name."""
    return Path(name) if name.endswith((".yaml", ".yml")) else Path("config") / f"{name}.yaml"
