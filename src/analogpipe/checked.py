"""A value from a file against its model: one line for the first fault."""

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from analogpipe.files import FileError, excerpt

ModelT = TypeVar("ModelT", bound=BaseModel)


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
