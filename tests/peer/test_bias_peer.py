"""The bias on the array against AIHWKit 1.1.0's ``mapping.digital_bias = False``."""

import pytest
import torch

from analogpipe.layer.linear import AnalogLinear
from analogpipe.tile.config import TileConfig
from analogpipe.tile.sections import ReadoutConfig

pytest.importorskip("aihwkit")
from aihwkit.nn import AnalogLinear as PeerLinear
from aihwkit.simulator.configs import SingleRPUConfig
from aihwkit.simulator.configs.devices import ConstantStepDevice
from aihwkit.simulator.parameters import IOParameters

pytestmark = pytest.mark.peer

PLAIN = {"dw_min_dtod": 0.0, "w_max_dtod": 0.0, "w_min_dtod": 0.0, "up_down_dtod": 0.0}


def test_the_bias_is_read_and_updated_alike() -> None:
    """Inputs of 0.1 at most: the scale of the read-out and of the pulse trains is the bias's 1."""
    rows, columns, lr, step = 2000, 3, 0.1, 0.001
    quiet = ReadoutConfig(out_noise=0)
    device = {"kind": "constant_step", "dw_min": step, "w_max": 2, "w_min": -2, **PLAIN}
    tile = TileConfig.parse({"device": device, "forward": quiet, "backward": quiet})
    layer = AnalogLinear(columns, rows, tile, bias="analog", seed=0, name="layer")
    config = SingleRPUConfig(device=ConstantStepDevice(dw_min=step, w_max=2, w_min=-2, **PLAIN))
    config.forward, config.backward = IOParameters(out_noise=0), IOParameters(out_noise=0)
    config.mapping.digital_bias = False
    config.mapping.max_input_size = config.mapping.max_output_size = 0
    config.mapping.weight_scaling_omega = 0.0
    peer = PeerLinear(columns, rows, bias=True, rpu_config=config)
    peer.set_weights(layer.tile.weight[:, :-1], layer.tile.weight[:, -1])
    x, e = torch.rand(1, columns) * 0.1, torch.full((1, rows), 0.05)
    ours, theirs = layer(x), peer(x)
    assert float(((ours - theirs).abs() > 1e-5).float().mean()) < 0.01  # rounding ties
    array = next(peer.analog_tiles())
    array.set_learning_rate(lr)
    before = layer.tile.weight.clone()
    updates = 60
    for _ in range(updates):
        layer.apply_update(x, e, lr)
        array.update(x, e)
    weight, bias = array.get_weights()
    wanted = -updates * lr * 0.05 * torch.cat([x[0], torch.ones(1)])
    # all rows of AIHWKit's array share the firing of a column: the updates are the sample
    error = step * (wanted.abs() / step).sqrt()
    for after in (layer.tile.weight, torch.cat([weight, bias.unsqueeze(1)], 1)):
        assert float((((after - before).mean(0) - wanted) / error).abs().max()) < 4.5
