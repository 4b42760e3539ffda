"""Parts of a module as attributes that are found at once.

Torch looks for them in its own way only after Python has given up, which takes as long as a read of a
small array, twenty times a layer and step.
"""

from typing import Any

from torch import nn


def submodule(name: str) -> Any:
    """Return a property for the submodule ``name``."""
    return _of("_modules", name)


def parameter(name: str) -> Any:
    """Return a property for the parameter ``name``, which must be registered, if only as None."""
    return _of("_parameters", name)


def buffer(name: str) -> Any:
    """Return a property for the buffer ``name``; as :func:`parameter`."""
    return _of("_buffers", name)


def _of(kind: str, name: str) -> Any:
    def get(module: nn.Module) -> Any:
        try:
            return module.__dict__[kind][name]
        except KeyError:
            # what else it may be, and what it says where there is none
            return nn.Module.__getattr__(module, name)

    return property(get)
