"""What a run will take, before it is run: cycles, latency, memory of the accelerators; time here."""

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from analogpipe.experiment import data, machine
from analogpipe.experiment.evaluation import evaluation_seconds
from analogpipe.experiment.progress import MEASURED
from analogpipe.experiment.run import make_pipeline
from analogpipe.layer.base import AnalogLayer
from analogpipe.pipeline import reads as costs
from analogpipe.profile.profile import Profile, Run
from analogpipe.profile.sections import Compute
from analogpipe.schedule import staleness
from analogpipe.schedule.modes import cycles, density
from analogpipe.schedule.partition import Balance, balance
from analogpipe.schedule.table import build
from analogpipe.schedule.timing import simulate
from analogpipe.tile.config import TileConfig
from analogpipe.tile.products import Format

SIMULATED = 20_000
"""Forward passes of stages up to which a run is timed action by action; a longer one is extrapolated."""


@dataclass(frozen=True)
class StageEstimate:
    """One accelerator: weights in its arrays, reads and saved activations (bytes) of a micro-batch."""

    weights: int
    reads: int
    saved_bytes: int
    in_flight: int

    @property
    def activation_bytes(self) -> int:
        """Memory for the activations of all micro-batches that are in flight at once."""
        return self.saved_bytes * self.in_flight


@dataclass(frozen=True)
class Estimate:
    """A whole run. ``latency`` is in array reads; its density and speed-up weigh unequal stages."""

    micro_batches: int
    cycles: int
    density: float
    latency: float
    latency_density: float
    speedup: float
    balance: Balance
    stages: list[StageEstimate]


@dataclass(frozen=True)
class Measured:
    """What the simulation of a run takes on this machine: times in seconds, peak memory in bytes."""

    micro_batch: float
    evaluation: float
    memory: int
    micro_batches: int
    epochs: int

    @property
    def seconds(self) -> float:
        """Time of the whole run, without start-up."""
        return self.micro_batch * self.micro_batches + self.evaluation * self.epochs


def measure(run: Run, images: data.Data, seconds: float = MEASURED) -> Measured:
    """Train for so many ``seconds``, evaluate one batch and make a checkpoint, all thrown away.

    The memory is that of this process, with all that it has done before.
    """
    total = len(images.train_targets) // run.training.micro_batch * run.training.epochs
    pipeline = make_pipeline(run, images, total)
    ends = pipeline.schedule.finished()
    done, step, count, spent = 0, 1, 0, 0.0
    while done < total and (spent < seconds or count == 0):
        since, before = time.monotonic(), done
        done = min(total, done + step)
        pipeline.run(until=int(ends[done - 1]))
        pipeline.mean_loss(before, done)  # waits for a GPU
        took = time.monotonic() - since
        if before or done == total:  # the first micro-batch has start-up work besides
            count, spent = count + done - before, spent + took
            step = max(1, min(2 * step, int((seconds - spent) / max(took, 1e-6) * step)))
    training = run.training
    evaluation = evaluation_seconds(pipeline, images, training.readings * training.reading_samples)
    safetensors.torch.save(pipeline.state_dict())
    return Measured(spent / count, evaluation, machine.peak_memory(), total, run.training.epochs)


def of_products(run: Run, images: data.Data, seconds: float = MEASURED) -> dict[str, float]:
    """Return the seconds that a micro-batch takes with products in float32 and in bfloat16.

    Each is trained for so many ``seconds``; torch's own ``precision`` is float32 for both.
    """
    times = {}
    for products in get_args(Format):
        compute = Compute(device=run.compute.device, products=products)
        with warnings.catch_warnings():  # the times say it
            warnings.simplefilter("ignore")
            one = measure(run.model_copy(update={"compute": compute}), images, seconds)
        times[products] = one.micro_batch
    return times


def measure_profile(
    profile: Profile, tiles: Mapping[str, TileConfig], images: data.Data, seconds: float = MEASURED
) -> tuple[int, float]:
    """Return the number of training runs of a profile, and the sum of their times without start-up.

    Every device is measured in every mode, at the largest stage count.
    """
    runs, total = 0, 0.0
    for device in profile.devices:
        for mode in profile.modes:
            trained = profile.trained_stages(mode)
            run = profile.run(device, mode, max(trained), 0, tile=tiles.get(device))
            count = len(trained) * len(profile.seeds) * len(profile.rates_of(device, mode))
            runs += count
            total += count * measure(run, images, seconds).seconds
    return runs, total


def estimate(run: Run, images: data.Data) -> Estimate:
    """Estimate a run on the pipeline that training would make of it.

    Cycles count equal stages, as the paper does. Latency counts array reads (see pipeline.reads) and
    lets every stage take the time that it needs.
    """
    size = run.training.micro_batch
    per_epoch = len(images.train_targets) // size
    # One mini-batch makes the same stages as the whole run, without its long table.
    pipeline = make_pipeline(run, images, max(1, min(per_epoch, run.mode.mini_batch)))
    modules = [stage.module for stage in pipeline.stages]
    x = images.prepared(images.train_inputs[:size])
    reads = costs.reads(modules, x)
    micro_batches = per_epoch * run.training.epochs
    mode, n = run.mode.schedule, run.mode.mini_batch
    held = staleness.in_flight(mode, run.stages, micro_batches, n, np.arange(1, run.stages + 1))
    stages = []
    for module, count, in_flight in zip(modules, reads, held.tolist(), strict=True):
        saved, x = _saved_bytes(module, x)
        stages.append(StageEstimate(_weights(module), count, saved, in_flight))
    latency, busy = _latency(mode, run.stages, micro_batches, n, reads)
    return Estimate(
        micro_batches,
        cycles(mode, run.stages, micro_batches, n),
        density(mode, run.stages, micro_batches, n),
        latency,
        busy,
        2 * micro_batches * sum(reads) / latency,
        balance(reads),
        stages,
    )


def _latency(
    mode: str, stages: int, micro_batches: int, n: int, reads: list[int]
) -> tuple[float, float]:
    """Makespan in array reads, and density. In the steady state each mini-batch adds the same time."""
    step = n * max(1, SIMULATED // (2 * stages * n))
    if micro_batches <= 2 * step:
        timing = simulate(build(mode, stages, micro_batches, n), reads)
        return timing.makespan, timing.density
    rest = micro_batches % step
    one, two = (simulate(build(mode, stages, k, n), reads) for k in (step + rest, 2 * step + rest))
    further = (micro_batches - rest) // step - 2
    makespan = two.makespan + further * (two.makespan - one.makespan)
    slots = two.density * two.makespan / (2 * step + rest)
    return makespan, slots * micro_batches / makespan


def _saved_bytes(module: nn.Module, x: Tensor) -> tuple[int, Tensor]:
    """Bytes that a forward pass keeps for its backward, besides the weights; and its output."""
    own = {t.untyped_storage().data_ptr() for t in [*module.parameters(), *module.buffers()]}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage().data_ptr()
        if storage not in own:
            kept[storage] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x.detach().requires_grad_())
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values()), y.detach()


def _weights(module: nn.Module) -> int:
    """Elements of the weight matrices and kernels, in arrays or digital."""
    arrays = [part.tile.weight for part in module.modules() if isinstance(part, AnalogLayer)]
    digital = [weight for weight in module.parameters() if weight.dim() > 1]
    return sum(weight.numel() for weight in (*arrays, *digital))
