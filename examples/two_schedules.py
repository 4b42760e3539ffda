"""Two schedules compared: what each stage does when, and how fast a network learns, as a picture.

python examples/two_schedules.py [two_schedules.png]
"""

import sys

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

import analogpipe as ap

pixels, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
images = pixels.float() / 8 - 1
order = torch.randperm(1600, generator=torch.Generator().manual_seed(0)).repeat(4).view(-1, 8)
count = len(order)


def train(plan: ap.Schedule) -> ap.Pipeline:
    """Train the same network in the order of a schedule."""
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(n, 64), nn.Tanh()) for n in (64, 64, 64)]
    analog = ap.to_analog([*blocks, nn.Linear(64, 10)], ap.preset("EcRamMO"))
    pipeline = ap.Pipeline(
        ap.cut(analog, stages=4, example=images[:8]),
        plan,
        loss=nn.functional.cross_entropy,
        batch=lambda b: (images[order[b]], labels[order[b]]),
        lr=lambda b: 0.1 * plan.mini_batch,  # an update is the mean of a mini-batch
    )
    pipeline.run()
    return pipeline


figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), sharey=True, layout="constrained")
for plan in (
    ap.plan("sync", stages=4, micro_batches=count, mini_batch=4),
    ap.plan("async", stages=4, micro_batches=count),
):
    loss = train(plan).losses.unfold(0, 40, 40).mean(1)  # of 40 micro-batches each
    left.plot(8 * torch.arange(40, count + 1, 40), loss, label=plan.name)
    right.plot(plan.finished()[39::40], loss)
    ap.draw(plan, clocks=24).savefig(f"{plan.name}.png")
    print(
        f"{plan.name}: {plan.cycles} cycles, density {plan.density:.2f}, last loss {loss[-1]:.3f}"
    )
left.set(xlabel="training images", ylabel="training loss")
right.set(xlabel="clock cycles")
left.legend()
figure.savefig(sys.argv[1] if len(sys.argv) > 1 else "two_schedules.png", dpi=120)
