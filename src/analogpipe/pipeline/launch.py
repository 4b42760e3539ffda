"""Start one process per stage on this machine, and end all of them when one ends badly."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from torch.distributed import TCPStore  # type: ignore[attr-defined]

from analogpipe.pipeline.watchdog import EXIT_STATUS

GRACE = 5.0
"""Seconds in which the other stages may end by themselves, with their reasons, after one failed."""


def launch(command: Sequence[str], stages: int) -> int:
    """Run ``command`` in ``stages`` processes, with the environment that torchrun would set.

    Returns 0 when all end well, else 1, at most GRACE seconds after the first bad end, having named
    the stage on stderr. No process outlives the call.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = []
    try:
        for rank in range(stages):
            own = {"OMP_NUM_THREADS": "1", **os.environ, **environment(rank, stages, store.port)}
            processes.append(subprocess.Popen(command, env=own))
        return _supervise(processes)
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def environment(rank: int, stages: int, port: int) -> dict[str, str]:
    """Return what torchrun would set for a process; a TCPStore of this machine listens at ``port``."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(stages),
        "LOCAL_WORLD_SIZE": str(stages),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def _supervise(processes: Sequence["subprocess.Popen[bytes]"]) -> int:
    failed_at: float | None = None
    while True:
        statuses = [process.poll() for process in processes]
        if failed_at is None:
            for stage, status in enumerate(statuses, start=1):
                if status:
                    failed_at = time.monotonic()
                    how = (
                        f"was killed by signal {-status}" if status < 0 else f"ended with {status}"
                    )
                    if status == EXIT_STATUS:
                        how = "ended for the reason that it has given"
                    pid = processes[stage - 1].pid
                    print(
                        f"error: stage {stage} (process {pid}) {how}", file=sys.stderr, flush=True
                    )
                    break
        if all(status is not None for status in statuses):
            return 0 if failed_at is None else 1
        if failed_at is not None and time.monotonic() - failed_at > GRACE:
            return 1
        time.sleep(0.05)
