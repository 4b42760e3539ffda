"""Which checkpoint a run goes on from: its own, or that of a shorter one that it extends."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch

from analogpipe.experiment.checkpoint import Checkpoint, Store
from analogpipe.experiment.provenance import key
from analogpipe.files import FileError
from analogpipe.profile.profile import Run
from analogpipe.schedule.table import Schedule, build, common_clocks
from analogpipe.settings import ConfigError, checked

Others = Literal["refuse", "replace", "extend"]
"""What becomes of the checkpoints of another run in the same folder: the run is refused and they stay;
or they make room; or the run goes on from one, as its longer version."""


def find(
    store: Store, run: Run, data: str, schedule: Schedule, others: Others
) -> Checkpoint | None:
    """Return the checkpoint from which ``run`` goes on, None where it begins anew.

    ``data`` is the digest of its samples. A run extends one that differs in the number of epochs
    alone, from a moment up to which both do the same: it ends in the bytes of a run that was as long
    from the start. Raises FileError, in one line, and leaves all checkpoints.
    """
    keys = store.keys()
    if others == "replace" or store.key in keys.values():
        return store.load()
    if others == "extend":
        return _extended(store, keys, run, data, schedule)
    if keys:
        why = _why(_run(store, next(iter(keys))), run, length=True)
        raise FileError(
            f"{store.folder}: holds checkpoints of another run ({why}); give --extend where only "
            "epochs were added, --overwrite to start anew, or another --out"
        )
    return None


def last_common(schedule: Schedule, per_epoch: int) -> int:
    """Return how many micro-batches are finished when a run that has further epochs, of ``per_epoch``
    micro-batches, begins to do other things than this one, whose end the pipeline awaits empty."""
    longer = _resized(schedule, schedule.micro_batches + per_epoch)
    return int((schedule.finished() <= common_clocks(schedule, longer)).sum())


def _extended(
    store: Store, keys: Mapping[int, str], run: Run, data: str, schedule: Schedule
) -> Checkpoint:
    if run.training.decay != "constant":
        raise FileError(
            f"{store.folder}: cannot be extended: training.decay is {run.training.decay}, whose rates "
            "depend on the number of epochs from the start; --overwrite starts anew"
        )
    for number, its_key in keys.items():
        its = _run(store, number)
        if its is None or key(its, data) != its_key or dict(_differences(its, run)):
            why = _why(its, run, length=False)
            raise FileError(f"{store.folder}: cannot be extended: it holds another run ({why})")
        epochs = its.training.epochs
        if epochs > run.training.epochs:
            raise FileError(
                f"{store.folder}: cannot be extended: training.epochs is {run.training.epochs}, "
                f"allowed: more than the {epochs} of the run that it holds"
            )
        count = schedule.micro_batches // run.training.epochs * epochs
        alike = common_clocks(_resized(schedule, count), schedule)
        found = store.take(number)
        if found is not None and int(found.tensors["clock"]) <= alike:
            losses = torch.full((schedule.micro_batches,), float("nan"))
            losses[:count] = found.tensors["losses"]
            return Checkpoint({**found.tensors, "losses": losses}, found.notes, found.key)
    raise FileError(
        f"{store.folder}: holds no checkpoint that a longer run can go on from; --overwrite starts anew"
    )


def _resized(schedule: Schedule, micro_batches: int) -> Schedule:
    return build(schedule.name, schedule.stages, micro_batches, schedule.mini_batch)


def _run(store: Store, number: int) -> Run | None:
    """The run of a checkpoint, None where that does not say it in a form that can be read."""
    try:
        return checked(Run, store.notes(number)["run"], store.folder)
    except (ConfigError, KeyError, TypeError):
        return None


def _why(its: Run | None, run: Run, *, length: bool) -> str:
    """In what a run differs from ``run``, in its ``length`` too if that matters."""
    facts = []
    if its is not None:
        facts = [f"{name}: {one}, here {two}" for name, (one, two) in _differences(its, run)]
        epochs = its.training.epochs, run.training.epochs
        if length and epochs[0] != epochs[1]:
            facts.append(f"training.epochs: {epochs[0]}, here {epochs[1]}")
    return ", ".join(facts[:3]) or "of another version of the code, of torch or of the data"


def _differences(one: Run, two: Run) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Keys in which two runs differ besides their length and how often they save, with the values."""
    unimportant = {"training": {"epochs", "checkpoint_every"}}
    a, b = (dict(_flat(run.model_dump(mode="json", exclude=unimportant))) for run in (one, two))
    for name in {**a, **b}:
        if a.get(name) != b.get(name):
            yield name, (a.get(name), b.get(name))


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, entry in value.items():
        if isinstance(entry, Mapping):
            yield from _flat(entry, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", entry
