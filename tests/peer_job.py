"""A model of AIHWKit's without noise in an asynchronous pipeline; each process saves what it can.

python -m peer_job FILE
"""

import sys
from pathlib import Path

import torch
from aihwkit.simulator.configs import FloatingPointRPUConfig
from safetensors.torch import save_file

import analogpipe as ap
from analogpipe.pipeline.processes import is_leader, make_pipeline
from peer_lenet import LOSS, Digits, lenet


def main(file: Path) -> None:
    """Train in as many processes as there are, and save the state at the end."""
    torch.manual_seed(0)
    net, digits = ap.from_aihwkit(lenet(FloatingPointRPUConfig)), Digits(0, 8)
    stages = ap.cut(net, stages=2, example=digits(0)[0])
    plan = ap.plan("async", stages=2, micro_batches=9)
    pipeline = make_pipeline(stages, plan, loss=LOSS, batch=digits, lr=lambda b: 0.1)
    pipeline.run()
    state = pipeline.state_dict()
    pipeline.close()
    if is_leader():
        save_file(state, file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
