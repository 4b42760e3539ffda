"""A file's settings: the form of a section, one line for the first fault, overrides ``KEY=VALUE``."""

import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from analogpipe.files import FileError, excerpt

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.-]*$", max_length=64)]
ModelT = TypeVar("ModelT", bound=BaseModel)


class Strict(BaseModel):
    """A section of the configuration: unknown keys are refused, values are not coerced."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class ConfigError(FileError):
    """A configuration that cannot be used: names the file, the key, what was found, what is allowed."""


def checked(model: type[ModelT], value: Mapping[str, Any], source: str | Path) -> ModelT:
    """Validate ``value`` against ``model``. Raises ConfigError with one line for the first fault."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
    key = ".".join(_keys(fault["loc"], value))
    found = excerpt(fault["input"])
    if fault["type"] == "extra_forbidden":
        allowed = ", ".join(_keys_at(model, fault["loc"][:-1]))
        raise ConfigError(f"{source}: {key}: unknown key, allowed: {allowed}")
    if fault["type"] == "missing":
        missing = ".".join(part for part in (key, str(fault["loc"][-1])) if part)
        raise ConfigError(f"{source}: {missing}: missing, a value is required")
    if fault["type"] == "value_error":
        where = f"{key}: " if key else ""
        raise ConfigError(f"{source}: {where}{fault['ctx']['error']}")
    allowed = fault["msg"].removeprefix("Input should be ")
    raise ConfigError(f"{source}: {key}: found {found}, allowed: {allowed}")


def _keys(location: tuple[int | str, ...], value: object) -> list[str]:
    """Return the keys that lead to ``location`` (a path of pydantic's) in ``value``: without the tags
    of unions on the way."""
    keys = []
    for part in location:
        here = isinstance(value, Mapping) and part in value
        if here or (isinstance(part, int) and isinstance(value, Sequence)):
            keys.append(str(part))
            value = value[part]  # type: ignore[index]
    return keys


def _keys_at(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """Return the keys that are allowed at ``location`` (a path of pydantic's) below ``model``."""
    here: list[Any] = [model]
    for part in location:
        below: list[Any] = []
        for kind in here:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                field = kind.model_fields.get(str(part))
                # A part that is no field is the tag of a union, which leads to the same model.
                below += _members(field.annotation) if field else [kind]
            else:
                below += [kind]
        here = below
    keys = {key for kind in here if hasattr(kind, "model_fields") for key in kind.model_fields}
    return sorted(keys)


def _members(annotation: Any) -> list[Any]:
    """Return the models inside an annotation such as ``A | None``, ``dict[str, A]``."""
    arguments = typing.get_args(annotation)
    if arguments:
        return [member for argument in arguments for member in _members(argument)]
    return [annotation]


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
