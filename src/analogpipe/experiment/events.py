"""What a run makes happen on arrays: its layers, and the pulses that it has sent; for any hardware."""

from dataclasses import replace

from analogpipe.experiment import data, models
from analogpipe.hardware.layers import Stage
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.pipeline.processes import total
from analogpipe.pipeline.reads import describe
from analogpipe.profile.profile import Run
from analogpipe.tile.config import digital
from analogpipe.tile.tile import AnalogTile


def blocks(run: Run, samples: data.Data) -> list[Stage]:
    """Return the blocks of a run's network as the cost model knows them, layers by the names of their
    arrays; of a digital run too."""
    made = models.build(run.model, samples.shape, samples.classes, digital(), run.seed)
    found = describe(made, samples.prepared(samples.train_inputs[:1]))
    names = {
        f"{i}.{path}".removesuffix(".tile"): part.address[1]
        for i, block in enumerate(made)
        for path, part in block.named_modules()
        if isinstance(part, AnalogTile)
    }
    return [
        replace(
            block,
            layers=tuple(
                replace(layer, name=names.get(layer.name, f"attention{layer.name}"))
                for layer in block.layers
            ),
        )
        for block in found
    ]


def counted(known: list[Stage], pipeline: Pipeline, vectors: int) -> list[Stage]:
    """Return blocks with the mean lengths of the pulse trains that a run has sent.

    ``vectors`` is the number of samples whose updates it has applied. A digital run has sent none:
    its layers are left as they are. Of a layer on several arrays, which fire at the same time, the trains
    of all are averaged. Every process of a run calls this.
    """
    slots: dict[str, list[int]] = {}
    for stage in pipeline.stages:
        for part in stage.module.modules():
            if isinstance(part, AnalogTile):
                layer, _, _ = part.address[1].partition("[")  # of a large layer all arrays
                slots.setdefault(layer, []).append(int(part.array.slots))
    if not total(len(slots)):
        return known

    def trains(name: str) -> float:
        own = slots.get(name, [])
        return total(sum(own)) / max(1, total(len(own)))

    return [
        replace(
            block,
            layers=tuple(
                replace(layer, mean_pulses=trains(layer.name) / vectors / layer.positions)
                if layer.kind != "attention"
                else layer
                for layer in block.layers
            ),
        )
        for block in known
    ]
