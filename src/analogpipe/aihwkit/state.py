"""What a tile of AIHWKit holds, as tensors, and how it is given back. AIHWKit is not imported.

AIHWKit's own loading makes a new tile and sets first what is hidden and then the weight, which clears
the fast array of its compounds, the pairs and the residual of mixed precision. Here the tile stays,
and what is set is read back and compared. Noise is drawn from generators inside of AIHWKit that cannot
be read or set: a run that is taken up again draws other noise.
"""

from typing import Any

import torch
from torch import Tensor

_RESIDUAL = "hidden_weights_chi"
_WRITTEN = "persistent_weights"
"""Elements behind a weight that is read with the noise of its writing."""


class AihwkitError(ValueError):
    """A model of AIHWKit's that a pipeline cannot train, or a state of it that cannot be kept."""


def state_of(tile: Any) -> dict[str, Tensor]:
    """Return the state of a tile as tensors.

    Raises:
        AihwkitError: there is something in it that could not be set again.
    """
    names, core = tile.tile.get_hidden_parameter_names(), tile.tile
    hidden = [name for name in names if name.startswith(_WRITTEN) and name != _WRITTEN]
    if hidden:
        raise AihwkitError(
            f"{core.get_brief_info().strip()}: AIHWKit has no way to set {', '.join(hidden)}; allowed in "
            "a run with checkpoints: write_noise_std 0 in the devices of its compounds"
        )
    device = tile.rpu_config.device
    if _RESIDUAL in names and (device.n_x_bins or device.n_d_bins):
        raise AihwkitError(
            f"{core.get_brief_info().strip()}: AIHWKit has no way to set a residual of rounded "
            "gradients; allowed in a run with checkpoints: n_x_bins and n_d_bins 0"
        )
    state = {"weight": core.get_weights().clone(), "hidden": _hidden(core)}
    if tile.mapping_scales is not None:
        state["scales"] = tile.mapping_scales.clone()
    for key, values in core.dump_extra().items():
        state[f"extra.{key}"] = torch.tensor(values, dtype=torch.float64)
    return state


@torch.no_grad()
def set_state(tile: Any, state: dict[str, Tensor]) -> None:
    """Give a tile a state of :func:`state_of`, taken from one of the same configuration.

    A weight with the noise of its writing is read with a new one until its elements are pulsed.

    Raises:
        AihwkitError: the tile does not hold it afterwards.
    """
    core, hidden, weight = tile.tile, state["hidden"], state["weight"]
    names = core.get_hidden_parameter_names()
    if hidden.shape != _hidden(core).shape or weight.shape != core.get_weights().shape:
        raise AihwkitError(f"{core.get_brief_info().strip()}: the state is that of another tile")
    if "scales" in state:
        tile.set_mapping_scales(state["scales"].clone())
    written = hidden[names.index(_WRITTEN)] if _WRITTEN in names else None
    if len(names):
        core.set_hidden_parameters(hidden)  # the bounds, to which a weight is clipped
    core.set_weights(weight if written is None else written)
    if len(names) and written is None:
        core.set_hidden_parameters(hidden)  # what setting a weight has cleared
    extra = {
        key.removeprefix("extra."): values.tolist()
        for key, values in state.items()
        if key.startswith("extra.")
    }
    if _RESIDUAL in names:
        _fill_residual(core, hidden[names.index(_RESIDUAL)], extra)
    core.load_extra(extra, True)
    held = written is not None or torch.equal(core.get_weights(), weight)
    if not held or not torch.equal(_hidden(core), hidden):
        raise AihwkitError(
            f"{core.get_brief_info().strip()}: AIHWKit does not hold the state that it was given"
        )


def _hidden(core: Any) -> Tensor:
    if not core.get_hidden_parameter_names():
        return torch.empty(0)
    hidden: Tensor = core.get_hidden_parameters().clone()
    return hidden


def _fill_residual(core: Any, residual: Tensor, extra: dict[str, list[float]]) -> None:
    """Add a residual to one that is 0, column by column: nothing else sets it.

    The first sample after none is not one that transfers, nor are fewer than a batch.
    """
    counter = next(key for key in extra if key.endswith("rpu_device.current_update_index"))
    core.load_extra({**extra, counter: [0.0]}, True)
    core.set_learning_rate(1.0)
    inputs = torch.eye(residual.shape[1])
    core.update(inputs, residual.t().contiguous(), False, False, False, False)
