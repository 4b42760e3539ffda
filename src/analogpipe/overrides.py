"""Overrides of a configuration on the command line: ``training.epochs=3``."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from analogpipe.files import FileError


def override(content: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of ``content`` with each override ``KEY=VALUE`` applied, in order.

    KEY is a dotted path. Names of devices and models may hold dots themselves: where the path could
    be read in several ways, the longest key that is there is meant. VALUE is JSON or YAML. Whether
    the key exists and the value fits is for the model to say that checks the result.
    Raises FileError for what is no override.
    """
    result = dict(content)
    for text in overrides:
        path, equals, value = text.partition("=")
        if not equals or not path.strip("."):
            raise FileError(f"--set: found {text!r}, allowed: KEY=VALUE, as in training.epochs=3")
        _set(result, path, _value(text, value), text)
    return result


def profile_file(name: str) -> Path:
    """Return the file of a profile: a path to YAML as it is, or config/NAME.yaml for a name."""
    return Path(name) if name.endswith((".yaml", ".yml")) else Path("config") / f"{name}.yaml"


def _value(text: str, value: str) -> Any:
    try:
        return json.loads(value)  # YAML 1.1 takes 1e-3 for a string, JSON for a number
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise FileError(f"--set: found {text!r}, whose value is neither JSON nor YAML") from None


def _set(section: dict[str, Any], path: str, value: Any, text: str) -> None:
    known = [key for key in map(str, section) if path == key or path.startswith(f"{key}.")]
    key = max(known, key=len) if known else path.partition(".")[0]
    rest = path[len(key) + 1 :]
    if not rest:
        section[key] = value
        return
    below = section.get(key, {})
    if not isinstance(below, Mapping):
        raise FileError(f"--set: found {text!r}, but {key} is a value, not a section")
    section[key] = dict(below)  # a copy, so that the caller's content stays as it was
    _set(section[key], rest, value, text)
