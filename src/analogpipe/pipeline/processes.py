"""One process per stage: the same table, the same arithmetic, messages over torch.distributed.

Who sends what to whom, and when, follows from the schedule alone; there is no negotiation. A
process is started for each stage by torchrun or by the job ``processes``, e.g. with four stages

    torchrun --nproc-per-node 4 -m PACKAGE.MODULE OPTIONS
    python -m analogpipe.jobs.processes --stages 4 PACKAGE.MODULE OPTIONS

where the module makes its pipeline by :func:`make_pipeline`. If a stage dies or stalls, the job
ends within ``limit`` seconds plus those of ``launch.GRACE`` and names the stage.
"""

import atexit
import os
import traceback
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, TCPStore  # type: ignore[attr-defined]

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.layout import laid, order
from analogpipe.pipeline.pipeline import Message, Pipeline
from analogpipe.pipeline.watchdog import ALL, Watch
from analogpipe.schedule.table import Action, Schedule

LIMIT = 20.0
"""Seconds without progress after which a stage counts as stalled. One action must take less."""

_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
_DIMENSIONS = 8
_HEADER = 3 + 2 * _DIMENSIONS
"""Type, length of the random state behind each message, dimensions, shape, order in memory."""


def make_pipeline(
    stages: Sequence[nn.Module], schedule: Schedule, *, limit: float = LIMIT, **options: Any
) -> Pipeline:
    """A Pipeline of this process, or its stage of a ProcessPipeline if started as one of many."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Pipeline(stages, schedule, **options)
    return ProcessPipeline(stages, schedule, limit=limit, **options)


def is_leader() -> bool:
    """Whether this process writes the results: that of stage 1, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


def agree(value: int) -> int:
    """Return the leader's value, in every process of a job whose pipeline is made."""
    if _watch is None:
        return value
    agreed = torch.tensor(value)
    with _watch.waiting_for(ALL):
        dist.broadcast(agreed, 0)
    return int(agreed)


def total(value: int) -> int:
    """Return the sum of all processes' values, in every process of a job whose pipeline is made."""
    if _watch is None:
        return value
    summed = torch.tensor(value)
    with _watch.waiting_for(ALL):
        dist.all_reduce(summed)
    return int(summed)


class _Sender:
    """Messages of one form to a peer, without waiting for it."""

    def __init__(self, peer: int, group: dist.ProcessGroup | None) -> None:
        self._peer = peer
        self._group = group
        self._form: tuple[torch.dtype, torch.Size, int, list[int]] | None = None
        self._sent: deque[tuple[dist.Work, Tensor]] = deque()

    def put(self, message: Message) -> None:
        tensor, random = message
        dimensions = order(tensor)
        tensor = tensor.permute(dimensions)
        form = (tensor.dtype, tensor.shape, 0 if random is None else len(random), dimensions)
        if self._form is None:
            self._form = form
            header = torch.zeros(_HEADER, dtype=torch.int64)
            shape = [*tensor.shape, *[0] * (_DIMENSIONS - tensor.dim())]
            fields = [_TYPES.index(tensor.dtype), form[2], tensor.dim(), *shape, *dimensions]
            header[: len(fields)] = torch.tensor(fields)
            self._send(header.to(tensor.device))
        elif self._form != form:
            raise StageError(
                "messages between processes have one type, shape, layout and length of random state, found "
                f"{form}, the first was {self._form}: give micro-batches of one size, and layers "
                "that draw always or never"
            )
        if random is None:
            self._send(tensor)
        else:
            self._send(torch.cat([_bytes(tensor), random.to(tensor.device)]))

    def _send(self, message: Tensor) -> None:
        while self._sent and self._sent[0][0].is_completed():
            self._sent.popleft()
        work = dist.isend(message, self._peer, group=self._group)
        assert work is not None
        self._sent.append((work, message))

    def flush(self) -> None:
        """Wait until all is sent."""
        while self._sent:
            self._sent.popleft()[0].wait()


class _Receiver:
    """Messages from a peer in the order of the micro-batches; the next one is always asked for."""

    def __init__(
        self, peer: int, group: dist.ProcessGroup | None, clocks: Any, device: torch.device
    ) -> None:
        self._peer = peer
        self._group = group
        self._clocks = clocks  # of the action of the peer that sends message 0, 1, ...
        self._device = device
        self.box: dict[int, Message] = {}
        self.received = 0
        self._form: tuple[torch.dtype, list[int], int, list[int]] | None = None
        self._next: tuple[dist.Work, Tensor] | None = None

    def sent_before(self, clock: int) -> int:
        """Number of messages that the peer has sent before a clock."""
        return int(np.searchsorted(self._clocks, clock))

    def take(self, b: int) -> Message:
        while b not in self.box:
            self._receive()
        return self.box.pop(b)

    def drain(self, clock: int) -> None:
        """Receive all that was sent before ``clock``."""
        while self.received < self.sent_before(clock):
            self._receive()

    def _receive(self) -> None:
        if self._next is None:
            self._next = self._ask()
        work, message = self._next
        work.wait()
        self.box[self.received] = self._opened(message)
        self.received += 1
        self._next = self._ask() if self.received < len(self._clocks) else None

    def _ask(self) -> tuple[dist.Work, Tensor]:
        if self._form is None:
            header = torch.zeros(_HEADER, dtype=torch.int64, device=self._device)
            dist.recv(header, self._peer, group=self._group)
            kind, random, dim, *rest = header.tolist()
            dimensions = rest[_DIMENSIONS : _DIMENSIONS + dim]
            self._form = _TYPES[kind], rest[:dim], random, dimensions
        dtype, shape, random, _ = self._form
        message = torch.empty(shape, dtype=dtype, device=self._device)
        if random:
            message = torch.cat([_bytes(message), message.new_empty(random, dtype=torch.uint8)])
        work = dist.irecv(message, self._peer, group=self._group)
        assert work is not None
        return work, message

    def _opened(self, message: Tensor) -> Message:
        assert self._form is not None
        dtype, shape, random, dimensions = self._form
        if not random:
            return Message(laid(message, dimensions))
        tensor = message[:-random].clone().view(dtype).view(shape)
        return Message(laid(tensor, dimensions), message[-random:].cpu())


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(-1).view(torch.uint8)


class ProcessPipeline(Pipeline):
    """The stage of this process in a pipeline of one process per stage.

    Takes the modules of all stages, of which it runs the one of its rank, on that module's device
    (nccl between GPUs, else gloo). All methods are collective: every process calls the same ones in
    the same order. ``state_dict`` is the same as that of a Pipeline and complete on the leader; so
    a run may go on with another number of processes. The state is loaded by every process.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        schedule: Schedule,
        *,
        limit: float = LIMIT,
        **options: Any,
    ) -> None:
        if len(stages) != (world := int(os.environ["WORLD_SIZE"])):
            raise StageError(f"{world} processes were started for {len(stages)} stages")
        rank = int(os.environ["RANK"])
        super().__init__(stages, schedule, only=rank, **options)
        self._rank, self._last = rank, world - 1
        self._watch = _connect(rank, world, limit)
        _open.add(id(self))
        backend = "nccl" if self._device.type == "cuda" else "gloo"
        # one group per direction: nccl runs the messages of a group in the order of their calls
        down, up = (dist.new_group(backend=backend) for _ in range(2))
        self._to_next = _Sender(rank + 1, down)
        self._to_previous = _Sender(rank - 1, up)
        self._inputs = self._receiver(rank - 1, down, Action.F)
        self._errors = self._receiver(rank + 1, up, Action.B)
        if rank > 0:
            self._outputs[rank - 1] = self._inputs.box
        self._gradients[rank] = self._errors.box

    def _receiver(self, peer: int, group: dist.ProcessGroup | None, kind: Action) -> _Receiver:
        row = self.schedule.row(peer + 1)
        return _Receiver(peer, group, row.clock[row.kind == kind], self._device)

    def run(self, until: int | None = None) -> None:
        """Execute this stage's actions with clock < ``until`` and take in what was sent."""
        try:
            super().run(until)
            with self._watch.waiting_for(self._rank):
                self._inputs.drain(self.clock)
            with self._watch.waiting_for(self._rank + 2):
                self._errors.drain(self.clock)
            with self._all():
                self._to_next.flush()
                self._to_previous.flush()
        except Exception as error:
            traceback.print_exc()
            self._watch.fail(f"stage {self._rank + 1} failed: {type(error).__name__}: {error}")

    def _put_output(self, i: int, b: int, output: Message) -> None:
        self._to_next.put(output)
        self._watch.progress += 1

    def _take_output(self, i: int, b: int) -> Message:
        with self._watch.waiting_for(i + 1):
            return self._inputs.take(b)

    def _put_gradient(self, i: int, b: int, gradient: Message) -> None:
        self._to_previous.put(gradient)
        self._watch.progress += 1

    def _take_gradient(self, i: int, b: int) -> Message:
        with self._watch.waiting_for(i + 2):
            return self._errors.take(b)

    def mean_loss(self, first: int, last: int) -> float:
        """As of a Pipeline, on every process."""
        value = torch.tensor(super().mean_loss(first, last), dtype=torch.float64)
        with self._all():
            dist.broadcast(value, self._last)
        return float(value)

    def predict(self, x: Tensor) -> Tensor:
        """As of a Pipeline, on every process; stage 1 takes ``x``."""
        if self._rank > 0:
            with self._all():
                x = _receive_any(self._rank - 1).to(self._device)
        x = super().predict(x)
        with self._all():
            if self._rank < self._last:
                _send_any(x, self._rank + 1)
                return _receive_any(self._last)
            for rank in range(self._last):
                _send_any(x, rank)
        return x

    def state_dict(self) -> dict[str, Tensor]:
        """The state of all stages on the leader, that of the own stage elsewhere."""
        own = {name: t.cpu() for name, t in super().state_dict().items()}
        parts: list[Any] = [None] * (self._last + 1)
        with self._all():
            dist.gather_object(own, parts if self._rank == 0 else None)
        # the losses are those of the last stage, which comes last
        return {name: t for part in parts for name, t in part.items()} if self._rank == 0 else own

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the own stage from the state of all. Only before anything was run."""
        if self._inputs.received or self._errors.received:
            raise StageError("a process loads a state before it runs, not after")
        super().load_state_dict(state)
        for receiver in (self._inputs, self._errors):
            receiver.received = receiver.sent_before(self.clock)

    def close(self) -> None:
        """Wait until all stages are done."""
        with self._all():
            dist.barrier()
        _open.discard(id(self))

    def _all(self) -> AbstractContextManager[None]:
        """The context of a step that waits for all stages."""
        return self._watch.waiting_for(ALL)


_watch: Watch | None = None
_open: set[int] = set()


def _connect(rank: int, world: int, limit: float) -> Watch:
    """Join the job, once per process, and begin to watch over it."""
    global _watch
    if _watch is None:
        dist.init_process_group("gloo")
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        # an own client: one that the main thread blocks would silence the watch
        store = PrefixStore(attempt, TCPStore(host, port, is_master=False))
        _watch = Watch(store, rank + 1, world, limit)
        dist.barrier()
        _watch.start()
        atexit.register(_leave, _watch)
    return _watch


def _leave(watch: Watch) -> None:
    watch.stop(f"stage {watch.stage} ended before its work was done" if _open else "")
    dist.destroy_process_group()


def _send_any(message: Tensor, peer: int) -> None:
    """Send a tensor of any shape over the default group, and wait until it is gone."""
    sender = _Sender(peer, dist.group.WORLD)
    sender.put(Message(message.cpu().contiguous()))
    sender.flush()


def _receive_any(peer: int) -> Tensor:
    return _Receiver(peer, dist.group.WORLD, (0,), torch.device("cpu")).take(0).tensor
