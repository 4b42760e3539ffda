"""A Slurm cluster of one machine for a test: munged, slurmctld and slurmd, all in a temporary folder."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

# Slurm drops SLURM_CONF from the environment of a job's steps, so the file has to lie where its commands look.
# This is the place that a node without a file of its own uses; a machine that has either is part of a cluster.
LINK = Path("/run/slurm/conf/slurm.conf")
SYSTEM = Path("/etc/slurm/slurm.conf")

# No cgroups, no accounting database: both need more than a container gives.
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
KillWait=2
MinJobAge=86400
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000
PartitionName={partition} Nodes=ALL Default=YES State=UP
"""
PARTITION = "test"
CPUS = 2
PATIENCE = 60.0


def output(*command: str) -> str:
    """Return what a command prints. Raises CalledProcessError when it fails."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def wait_until(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Wait for a condition. Raises TimeoutError, which names it, when it does not come true."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.05)


def free_ports(number: int) -> list[int]:
    """Return TCP ports that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def cluster() -> Iterator[None]:
    """Start the cluster; stop it and remove every trace afterwards, after a failure too."""
    if os.geteuid() != 0:
        raise PermissionError("a Slurm cluster for the test needs root")
    for path in (SYSTEM, LINK):
        if path.exists() or path.is_symlink():
            raise FileExistsError(
                f"{path} exists: the test leaves a machine of a real cluster alone"
            )
    # A polite kill of the test takes the way of Ctrl-C, with its cleaning up.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        stack.callback(signal.signal, signal.SIGTERM, before)
        folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # munged refuses a socket that not everybody can reach
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(1024))
        (folder / "munge.key").chmod(0o400)
        controller_port, node_port = free_ports(2)
        configuration = str(folder / "slurm.conf")
        Path(configuration).write_text(
            CONFIGURATION.format(
                host=socket.gethostname().split(".")[0], folder=folder, partition=PARTITION,
                cpus=CPUS, controller_port=controller_port, node_port=node_port,
            )
        )  # fmt: skip
        LINK.parent.mkdir(parents=True, exist_ok=True)
        LINK.symlink_to(configuration)
        stack.callback(LINK.unlink)

        munge = [f"--{name}={folder}/munge.{end}" for name, end in (
            ("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"), ("log-file", "log"),
            ("seed-file", "seed"),
        )]  # fmt: skip
        _daemon(stack, folder, "munged", "--foreground", *munge)
        wait_until((folder / "munge.socket").exists, f"munged ({folder}/munge.log)")
        _daemon(stack, folder, "slurmctld", "-D", "-f", configuration)
        _daemon(stack, folder, "slurmd", "-D", "-f", configuration)
        wait_until(_idle, "an idle node")
        stack.callback(_cancel_all)
        yield


def _daemon(stack: ExitStack, folder: Path, *command: str) -> None:
    """Start a daemon that ends with the stack; its last lines are shown if it dies before.

    Its session is its own: Ctrl-C must not end it before its jobs are cancelled.
    """
    log = folder / f"{command[0]}.out"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)

    def stop() -> None:
        if process.poll() is not None:
            print(f"{command[0]} ended with status {process.returncode}:", log.read_text()[-2000:])
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(stop)


def _idle() -> bool:
    answer = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], check=False, capture_output=True, text=True
    )
    return answer.stdout.strip() == "idle"


def _cancel_all() -> None:
    """A job outlives its slurmd, so cancel all before that ends."""
    subprocess.run(["scancel", "--user=root"], check=False)
    wait_until(lambda: not output("squeue", "--noheader"), "the end of all jobs")
