"""Pipelined training on simulated analog in-memory accelerators.

    import analogpipe as ap
    tile = ap.preset("ReRamSB")
    blocks = ap.to_analog(blocks, tile, seed=0)
    plan = ap.plan("async", stages=4, micro_batches=1000)
    pipe = ap.Pipeline(ap.cut(blocks, stages=4, example=x), plan, loss=loss, batch=batch, lr=lr)
    pipe.run()

Each name is loaded when it is first used, so that devices, schedules and profiles need no torch.
"""

from importlib import import_module, metadata
from typing import Any

_HOME = {
    "MODES": "schedule.modes.MODES",
    "AnalogConv2d": "layer.convolution.AnalogConv2d",
    "AnalogLinear": "layer.linear.AnalogLinear",
    "ConstantStep": "device.parameters.ConstantStep",
    "ExpStep": "device.parameters.ExpStep",
    "Ideal": "device.parameters.Ideal",
    "LinearStep": "device.parameters.LinearStep",
    "OneSided": "device.parameters.OneSided",
    "Pipeline": "pipeline.pipeline.Pipeline",
    "PowStep": "device.parameters.PowStep",
    "Schedule": "schedule.table.Schedule",
    "SoftBounds": "device.parameters.SoftBounds",
    "SoftBoundsReference": "device.parameters.SoftBoundsReference",
    "TileConfig": "tile.config.TileConfig",
    "calibrate": "calibration.calibrate.calibrate",
    "calibrate_csv": "calibration.calibrate.calibrate_csv",
    "compare": "results.compare.compare",
    "cut": "pipeline.cut.cut",
    "draw": "figures.gantt.figure",
    "from_aihwkit": "aihwkit.layers.from_aihwkit",
    "from_rpu_config": "aihwkit.read.from_rpu_config",
    "load_claims": "results.load.load_claims",
    "load_devices": "profile.profile.load_devices",
    "load_profile": "profile.profile.load_profile",
    "load_run": "results.load.load_run",
    "load_runs": "results.load.load_runs",
    "load_schedule": "results.load.load_schedule",
    "load_table": "results.load.load_table",
    "multiply_in": "layer.multiply.multiply_in",
    "plan": "schedule.table.build",
    "preset": "tile.config.preset",
    "to_aihwkit": "aihwkit.layers.to_aihwkit",
    "to_analog": "layer.convert.to_analog",
    "to_rpu_config": "aihwkit.write.to_rpu_config",
    "train": "experiment.train.train",
    "train_arrays": "layer.steps.train_arrays",
    "update_arrays": "layer.steps.update_arrays",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    """Load a name of the front door (PEP 562), or the version that is installed."""
    if name == "__version__":
        return metadata.version(__name__)
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOME[name].rpartition(".")
    value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
