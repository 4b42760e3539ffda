"""The pipeline of a run: its network cut into stages, its schedule, its data order."""

import math
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analogpipe.experiment import data, machine, models
from analogpipe.experiment.augmentation import crop_flip
from analogpipe.layer.multiply import multiply_in
from analogpipe.pipeline import processes as distributed
from analogpipe.pipeline.mitigation import LearningRate, warmed_up
from analogpipe.pipeline.optimizer import Make
from analogpipe.pipeline.pipeline import Batch, Pipeline
from analogpipe.pipeline.reads import reads
from analogpipe.profile.profile import Run
from analogpipe.profile.sections import AdamW, Optimizer, Sgd
from analogpipe.schedule.partition import from_sizes, partition
from analogpipe.schedule.staleness import delay
from analogpipe.schedule.table import build
from analogpipe.seeds import generator
from analogpipe.settings import ConfigError


def make_pipeline(
    run: Run, samples: data.Data, micro_batches: int, *, trace: bool = False
) -> Pipeline:
    """Return the pipeline of a run: its network cut into stages, its schedule, its data order.

    Micro-batch b holds the next ``micro_batch`` samples of the epoch's order; those that do not
    fill a micro-batch are left out of that epoch. In one of several processes, started by
    analogpipe.jobs.processes, the pipeline runs the stage of that process.
    """
    device = machine.prepare(run.compute)
    stages = [stage.to(device) for stage in _stages(run, samples)]
    samples = samples.to(device)
    mode = run.mode
    per_epoch = len(samples.train_targets) // run.training.micro_batch
    delays = delay(mode.schedule, run.stages, np.arange(1, run.stages + 1)).tolist()
    warm_up = mode.warm_up_epochs * per_epoch
    rate = _learning_rate(run, micro_batches)
    return distributed.make_pipeline(
        stages,
        build(mode.schedule, run.stages, micro_batches, mode.mini_batch),
        loss=cross_entropy,
        batch=_batches(run, samples),
        lr=warmed_up(rate, delays, warm_up) if warm_up else rate,
        prediction=mode.prediction,
        optimizer=optimizer(run.training.optimizer),
        seed=run.seed,
        trace=trace,
    )


def _stages(run: Run, samples: data.Data) -> list[nn.Module]:
    """The network of a run, cut into its stages. Raises ConfigError where the samples do not fit it."""
    try:
        blocks = models.build(run.model, samples.shape, samples.classes, run.tile, run.seed)
    except ValueError as error:
        raise ConfigError(f"model {run.model.name} on {run.dataset.name}: {error}") from None
    if run.split is None:
        example = samples.prepared(samples.train_inputs[:1])
        parts = partition(reads(blocks, example), run.stages)
    else:
        parts = from_sizes(run.split, len(blocks), run.stages)
    stages: list[nn.Module] = [nn.Sequential(*(blocks[i] for i in part)) for part in parts]
    multiply_in(stages, run.compute.products)
    if run.compute.precision == "bf16":
        stages = [machine.Autocast(stage) for stage in stages]
    return stages


def _batches(run: Run, samples: data.Data) -> Batch:
    """Micro-batch b as a function of b: inputs and targets, on the device of the samples."""
    size, count = run.training.micro_batch, len(samples.train_targets)
    per_epoch = count // size
    device = samples.train_targets.device

    @lru_cache(maxsize=2)
    def order(epoch: int) -> Tensor:
        return data.order(count, epoch, run.seed).to(device)

    def batch(b: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(b, per_epoch)
        chosen = order(epoch)[place * size : (place + 1) * size]
        inputs = samples.train_inputs[chosen]
        if run.training.augmentation == "crop-flip":
            inputs = crop_flip(inputs, generator(run.seed, "augmentation", b))
        return samples.prepared(inputs), samples.train_targets[chosen]

    return batch


def _learning_rate(run: Run, micro_batches: int) -> LearningRate:
    """The rate of the update after micro-batch b of ``micro_batches``."""

    def cosine(b: int) -> float:
        return run.learning_rate * (1 + math.cos(math.pi * b / micro_batches)) / 2

    return cosine if run.training.decay == "cosine" else lambda b: run.learning_rate


def optimizer(config: Optimizer) -> Make | None:
    """Return what makes a stage's optimizer as a profile describes it; None for plain SGD, which a
    stage steps itself."""
    if isinstance(config, AdamW):
        betas = config.beta1, config.beta2
        decay = config.weight_decay
        return partial(torch.optim.AdamW, betas=betas, eps=config.eps, weight_decay=decay)
    if config == Sgd(kind="sgd"):
        return None
    options = config.model_dump(exclude={"kind"})
    return partial(torch.optim.SGD, lr=0.0, **options)
