"""Any torch model on analog arrays: its ``Linear`` and ``Conv2d`` layers become analog ones.

The model is copied, with the analog layers put in on the way: a new layer stands wherever the model
refers to the old one, lists and bound methods included.
"""

import copy
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from types import FunctionType
from typing import Any, TypeVar, overload

import torch
from torch import nn

from analogpipe.layer.base import AnalogLayer, Bias
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.layer.mapped import AnalogConv2dMapped, AnalogLinearMapped, convolution, linear
from analogpipe.layer.obstacles import Layer, Places, obstacle, survey, tied, two
from analogpipe.tile.config import TileConfig
from analogpipe.tile.tile import AnalogTile

Choice = str | type[nn.Module]
"""A pattern of module paths (fnmatch: ``head``, ``*.fc1``, ``encoder.*``), or a type."""

Analog = AnalogLinear | AnalogConv2d | AnalogLinearMapped | AnalogConv2dMapped

_SequentialT = TypeVar("_SequentialT", bound=nn.Sequential)


class ConversionError(ValueError):
    """A model that cannot be put on arrays as it is."""


@overload
def to_analog(
    blocks: _SequentialT,
    tile: TileConfig,
    seed: int = ...,
    *,
    digital: Sequence[Choice] = ...,
    strict: bool = ...,
    analog_bias: bool = ...,
    name: str = ...,
) -> _SequentialT: ...
@overload
def to_analog(
    blocks: nn.Module,
    tile: TileConfig,
    seed: int = ...,
    *,
    digital: Sequence[Choice] = ...,
    strict: bool = ...,
    analog_bias: bool = ...,
    name: str = ...,
) -> nn.Module: ...
@overload
def to_analog(
    blocks: Sequence[nn.Module],
    tile: TileConfig,
    seed: int = ...,
    *,
    digital: Sequence[Choice] = ...,
    strict: bool = ...,
    analog_bias: bool = ...,
    name: str = ...,
) -> list[nn.Module]: ...
def to_analog(
    blocks: nn.Module | Sequence[nn.Module],
    tile: TileConfig,
    seed: int = 0,
    *,
    digital: Sequence[Choice] = (),
    strict: bool = True,
    analog_bias: bool = False,
    name: str = "",
) -> nn.Module | list[nn.Module]:
    """Return a copy of a model whose ``nn.Linear`` and ``nn.Conv2d`` layers are on arrays of ``tile``.

    Weights are kept, clipped to the bounds of the elements; biases stay digital parameters. A layer
    that stands in several places is converted once and stands there again; layers that share their
    weight share their array. Embeddings, norms and parameters that a module of yours holds itself
    stay digital. The state of a converted layer is ``PATH.tile.array.weight`` in place of ``PATH.weight``.

    Args:
        blocks: one layer, any module, or the blocks of a network.
        tile: what the arrays are made of.
        seed: seed of the elements and of all noise. A layer's streams are addressed by its path
            in the model, so that two conversions with one seed are equal.
        digital: what stays digital, with all that is in it: patterns of paths, or types.
        strict: whether a matrix that cannot be converted is an error; else it stays digital.
        analog_bias: put biases into the arrays, as a last column with input 1.
        name: stands before the paths: gives a second model with the same seed elements of its own.

    Raises:
        ConversionError: one line with all that cannot be converted and why, or with a pattern that
            matches nothing, or because there is nothing to convert.
    """
    found = list(_places(blocks))
    layers, faults = survey(found, _kept(found, digital), tile)
    faults |= tied(found, {p: layer for p, layer in layers.items() if p not in faults}, analog_bias)
    if faults and strict:
        named = "; ".join(f"{path} ({reason})" for path, reason in faults.items())
        raise ConversionError(
            f"cannot be converted: {named}; allowed: to leave it digital, by its name in digital=[...] "
            "or all of it by strict=False"
        )
    made: dict[int, Any] = {}
    arrays: dict[int, Analog] = {}
    for path, layer in layers.items():
        if path not in faults:
            address = ".".join(part for part in (name, path) if part)
            analog = analog_layer(layer, tile, seed=seed, name=address, analog_bias=analog_bias)
            if (owner := arrays.setdefault(id(layer.weight), analog)) is not analog:
                analog.share(owner)  # type: ignore[arg-type]
            if analog.bias is not None:  # copied by the same memo, others may hold it too
                analog.bias = copy.deepcopy(layer.bias, made)
            made[id(layer)] = analog
    if not arrays:
        raise ConversionError("found no nn.Linear or nn.Conv2d to convert")
    return _copied(blocks, found, made)


def analog_layer(
    layer: Layer,
    tile: TileConfig,
    *,
    seed: int,
    name: str,
    analog_bias: bool = False,
) -> Analog:
    """Return an analog layer with the weights of one digital layer, where that is (CPU or GPU).

    Raises:
        ConversionError: the layer does what the analog one cannot.
    """
    if reason := obstacle(layer, tile):
        raise ConversionError(f"{name} ({reason})")
    bias: Bias = layer.bias is not None and ("analog" if analog_bias else True)
    made: Analog
    if isinstance(layer, nn.Linear):
        made = linear(layer.in_features, layer.out_features, tile, bias=bias, seed=seed, name=name)
    else:
        made = convolution(
            layer.in_channels,
            layer.out_channels,
            two(layer.kernel_size),
            tile,
            stride=two(layer.stride),
            padding=layer.padding if isinstance(layer.padding, str) else two(layer.padding),
            dilation=two(layer.dilation),
            padding_mode=layer.padding_mode,
            groups=layer.groups,
            bias=bias,
            seed=seed,
            name=name,
        )
    array = layer.weight.detach().flatten(1)
    if layer.bias is not None and bias == "analog":
        array = torch.cat([array, layer.bias.detach().unsqueeze(1)], 1)
    elif layer.bias is not None:
        made.bias = copy.deepcopy(layer.bias)
    if isinstance(made, AnalogLayer):  # as if the weights were its initial ones
        made.tile = AnalogTile(array.cpu(), tile, seed=seed, name=name)
        made.attach()
    else:
        made.set_weight(layer.weight.detach().cpu())
    if not layer.weight.requires_grad:
        made.requires_grad_(False)
        if layer.bias is not None and made.bias is not None:
            made.bias.requires_grad_(layer.bias.requires_grad)
    return made.to(layer.weight.device).train(layer.training)


def _places(blocks: nn.Module | Sequence[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Every module under every path that leads to it, parents first."""
    if isinstance(blocks, nn.Module):
        for path, module in blocks.named_modules(remove_duplicate=False):
            yield path or type(blocks).__name__.lower(), module
        return
    for i, block in enumerate(blocks):
        if not isinstance(block, nn.Module):
            raise ConversionError(
                f"block {i}: found {type(block).__name__}, allowed: a torch module"
            )
        yield from block.named_modules(prefix=str(i), remove_duplicate=False)


def _kept(found: Places, digital: Sequence[Choice]) -> set[int]:
    """Ids of the modules that stay digital by choice."""
    kept: set[int] = set()
    for choice in [digital] if isinstance(digital, str | type) else digital:
        if isinstance(choice, str):
            chosen = [module for path, module in found if fnmatchcase(path, choice)]
            if not chosen:
                paths = ", ".join(path for path, _ in found[:20])
                raise ConversionError(f"digital: {choice!r} matches no module; there are: {paths}")
        else:
            chosen = [module for _, module in found if isinstance(module, choice)]
        kept |= {id(part) for module in chosen for part in module.modules()}
    return kept


def _copied(
    blocks: nn.Module | Sequence[nn.Module], found: Places, made: dict[int, Any]
) -> nn.Module | list[nn.Module]:
    """Return a copy of a model with the new layers of ``made`` in the place of the old, by id."""
    for path, module in found:
        for key, value in vars(module).items():
            cells = (value.__closure__ or ()) if isinstance(value, FunctionType) else ()
            if any(isinstance(cell.cell_contents, nn.Module) for cell in cells):
                raise ConversionError(
                    f"{path}: {key} is a function with a module in it, which a copy would share with "
                    "the old model; allowed: a method"
                )
    try:
        copied: nn.Module | list[nn.Module] = copy.deepcopy(
            blocks if isinstance(blocks, nn.Module) else list(blocks), made
        )
    except (RuntimeError, TypeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise ConversionError(f"the model cannot be copied: {reason}") from None
    return copied
