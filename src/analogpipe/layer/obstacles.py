"""What keeps layers of a torch model from arrays: the reasons, found before anything is converted."""

import dis
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

from analogpipe.layer.base import AnalogLayer
from analogpipe.tile.config import TileConfig

Layer = nn.Linear | nn.Conv2d
Places = list[tuple[str, nn.Module]]
"""Modules under every path that leads to them, parents first."""

_OWN_MATRICES = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear, nn.MultiheadAttention)
_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_post_accumulate_grad_hooks",
)


def survey(
    found: Places, kept: set[int], tile: TileConfig
) -> tuple[dict[str, Layer], dict[str, str]]:
    """The layers to convert by the first path to each, and the reasons why others cannot be."""
    layers: dict[str, Layer] = {}
    faults: dict[str, str] = {}
    done, readers = set(kept), _read_directly(found)
    for path, module in found:
        if id(module) in done:
            continue
        done.add(id(module))
        reason = _own_matrices(module)
        if reason or isinstance(module, AnalogLayer):
            done |= {id(part) for part in module.modules()}
        elif isinstance(module, nn.Linear | nn.Conv2d):
            layers[path] = module
            reason = obstacle(module, tile) or readers.get(id(module))
        if reason:
            faults[path] = reason
    return layers, faults


def _own_matrices(module: nn.Module) -> str | None:
    """Why a module that multiplies by matrices is none that can be converted, None for others."""
    kind = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule) or kind == "OptimizedModule":
        return "is compiled; convert the model before"
    if isinstance(module, _OWN_MATRICES):
        return f"{kind} multiplies by its matrices itself, without a layer for each"
    if isinstance(module, _ConvNd) and not isinstance(module, nn.Conv2d):
        return f"there is no analog {kind}"
    return None


def obstacle(layer: nn.Linear | nn.Conv2d, tile: TileConfig) -> str | None:
    """Why a layer cannot be converted, None where it can."""
    base = nn.Linear if isinstance(layer, nn.Linear) else nn.Conv2d
    if isinstance(layer, LazyModuleMixin):
        return "has no sizes yet; run the model once before"
    if is_parametrized(layer) or "weight" not in layer._parameters:
        return "its weight is computed from others, as by weight_norm, spectral_norm or pruning"
    if type(layer) is not base:
        return f"{type(layer).__name__} is a subclass of {base.__name__} and may do something else"
    if any(getattr(layer, h, None) or getattr(layer.weight, h, None) for h in _HOOKS):
        return "has hooks, which would be lost"
    if "forward" in vars(layer):
        return "its forward was replaced"
    if layer.weight.dtype != torch.float32 or layer.weight.is_meta:
        found = "no memory" if layer.weight.is_meta else str(layer.weight.dtype)
        return f"its weight has {found}, an array needs torch.float32"
    return None if isinstance(layer, nn.Linear) else _convolution_obstacle(layer, tile)


def _convolution_obstacle(layer: nn.Conv2d, tile: TileConfig) -> str | None:
    update = tile.update
    by_patches = update.rule == "pulse_train" or not update.update_management
    by_patches |= tile.transfer is not None and not tile.transfer.units_in_mbatch
    if layer.groups > 1 and tile.device.kind != "ideal" and by_patches:
        return f"has {layer.groups} groups, this tile's update needs 1"
    return None


def two(value: Any) -> tuple[int, int]:
    """Rows and columns of a setting of torch's, which has more types than two integers."""
    return int(value[0]), int(value[1])


def _read_directly(found: Places) -> dict[int, str]:
    """Reasons for the layers whose weight the forward of a module around them reads by itself.

    Such a forward (attention in torch and torchvision) would multiply past the array.
    """
    reasons: dict[int, str] = {}
    for module in {id(module): module for _, module in found}.values():
        for chain in _attributes_of_self(type(module).forward):
            if "weight" not in chain[1:]:
                continue
            path = ".".join(chain[: chain.index("weight", 1)])
            try:
                layer = module.get_submodule(path)
            except AttributeError:
                continue
            reasons[id(layer)] = f"the forward of {type(module).__name__} reads its weight directly"
    return reasons


def _attributes_of_self(function: Any) -> Iterator[list[str]]:
    """The chains of attributes that the code of a method reads from its first argument."""
    code = getattr(function, "__code__", None)
    if code is None or not code.co_argcount:
        return
    chain: list[str] | None = None
    for step in dis.get_instructions(code):
        if chain is not None and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            chain.append(str(step.argval))
            continue
        if chain:
            yield chain
        # some versions of Python load two variables at once
        loaded = step.argval[-1] if isinstance(step.argval, tuple) else step.argval
        of_self = step.opname.startswith("LOAD_FAST") and loaded == code.co_varnames[0]
        chain = [] if of_self else None


def tied(
    found: Places,
    layers: dict[str, Layer],
    analog_bias: bool,
) -> dict[str, str]:
    """Reasons for layers whose weight is tied to something that is not converted along."""
    owners: dict[int, dict[int, str]] = defaultdict(dict)
    memory: dict[int, dict[int, tuple[Tensor, str]]] = defaultdict(dict)
    for path, module in found:
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and not is_lazy(tensor):
                owners[id(tensor)].setdefault(id(module), f"{path}.{key}")
                memory[_storage(tensor)].setdefault(id(tensor), (tensor, f"{path}.{key}"))
    converted = {id(layer) for layer in layers.values()}
    faults = {}
    for path, layer in layers.items():
        along = owners[id(layer.weight)]
        apart = [place for one, place in along.items() if one not in converted]
        beside = memory[_storage(layer.weight)].values()
        apart += [place for other, place in beside if _overlap(other, layer.weight)]
        if apart:
            faults[path] = f"its weight is shared with {', '.join(apart)}"
        elif analog_bias and layer.bias is not None:
            if len(along) > 1 or len(owners[id(layer.bias)]) > 1:
                faults[path] = "what it shares allows no analog bias"
            elif layer.bias.requires_grad != layer.weight.requires_grad:
                faults[path] = "its weight or its bias alone is frozen, an array is as a whole"
    return faults


def _storage(tensor: Tensor) -> int:
    """Where the memory lies that a tensor is a view of; something of its own for one without."""
    return tensor.untyped_storage().data_ptr() or id(tensor)


def _overlap(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are different views of the same elements."""
    if one is other:
        return False
    (low, high), (first, last) = (_extent(tensor) for tensor in (one, other))
    return low <= last and first <= high


def _extent(tensor: Tensor) -> tuple[int, int]:
    """First and last place of a tensor in its memory."""
    first = int(tensor.storage_offset())
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return first, first + int(sum((size - 1) * stride for size, stride in steps))
