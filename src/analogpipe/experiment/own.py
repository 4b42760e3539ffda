"""Networks and data sets of a profile that come from a user's Python file."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from analogpipe.layer.convert import ConversionError, to_analog
from analogpipe.profile.sections import PythonModel
from analogpipe.settings import ConfigError
from analogpipe.tile.config import TileConfig


def call(file: str, name: str, key: str, *arguments: Any) -> Any:
    """Return what a function of a Python file returns. ``key`` names the file in the profile.

    Raises:
        ConfigError: the file has no such function, or one of both fails.
    """
    spec = spec_from_file_location(Path(file).stem, file)
    if spec is None or spec.loader is None or not Path(file).is_file():
        raise ConfigError(f"{key}: found {file}, allowed: an existing Python file")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        if hasattr(module, name):
            return getattr(module, name)(*arguments)
    except Exception as error:
        raise ConfigError(f"{key}: {file}: {type(error).__name__}: {error}") from error
    raise ConfigError(f"{key}: {file}: found no function {name}")


def blocks(
    config: PythonModel,
    shape: tuple[int, ...],
    classes: int,
    tile: TileConfig | None,
    seed: int,
) -> list[nn.Module]:
    """Return the blocks that the user's function makes of ``shape`` and ``classes``, on arrays with a ``tile``.

    The function draws initial weights from torch's global stream, which starts at ``seed`` and is put
    back. Analog layers replace its Linear and Conv2d layers, but for those that ``digital`` names.

    Raises:
        ConfigError: there is no such function, or it returns something else than ``config.blocks``
            modules.
        ValueError: a layer cannot be converted; names it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = list(call(config.file, config.function, "model.file", shape, classes))
    wrong = [part for part in made if not isinstance(part, nn.Module)]
    if wrong or len(made) != config.blocks:
        found = f"a {type(wrong[0]).__name__}" if wrong else f"{len(made)} blocks"
        raise ConfigError(
            f"model.blocks: {config.function} of {config.file} returned {found}, "
            f"allowed: {config.blocks} torch modules"
        )
    if tile is None:
        return made
    try:
        return to_analog(made, tile, seed=seed, digital=config.digital)
    except ConversionError as error:
        raise ValueError(str(error)) from None


def arrays(file: str, name: str) -> list[np.ndarray[Any, np.dtype[Any]]]:
    """Return the four arrays of a user's data set: training inputs and targets, then those of the test.

    Raises:
        ConfigError: there is no such function, or it returns something else than images (N, C, H, W)
            uint8, or characters (N, context) uint8, and their int64 targets.
    """
    made = [np.ascontiguousarray(part) for part in call(file, name, "dataset.path")]
    if len(made) != 4:
        raise ConfigError(f"dataset.path: {file}: {name} returned {len(made)} arrays, allowed: 4")
    for inputs, targets in (made[:2], made[2:]):
        known = inputs.dtype == np.uint8 and targets.dtype == np.int64
        count = 1 if inputs.ndim == 4 else 2
        if not known or inputs.ndim not in (2, 4) or targets.shape != inputs.shape[:count]:
            raise ConfigError(
                f"dataset.path: {file}: {name} returned {inputs.dtype} {inputs.shape} with {targets.dtype} "
                f"{targets.shape}, allowed: uint8 (N, C, H, W) with int64 (N,), or uint8 (N, context) with "
                "int64 (N, context)"
            )
    return made
