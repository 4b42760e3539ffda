"""Your own torch model on analog arrays, trained in an asynchronous pipeline of four accelerators."""

import torch
from sklearn.datasets import load_digits
from torch import nn

import analogpipe as ap

torch.manual_seed(0)
model = nn.Sequential(
    nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten()),
    nn.Sequential(nn.Linear(256, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 10)),
)
pixels, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
images = pixels.float().view(-1, 1, 8, 8) / 8 - 1
order = torch.randperm(1500).repeat(6).view(-1, 8)  # 6 epochs of the first 1500 images

analog = ap.to_analog(model, ap.preset("EcRamMO"), seed=0)
stages = ap.cut(analog, stages=4, example=images[:8])
pipeline = ap.Pipeline(
    stages,
    ap.plan("async", stages=4, micro_batches=len(order)),
    loss=nn.functional.cross_entropy,
    batch=lambda b: (images[order[b]], labels[order[b]]),
    lr=lambda b: 0.05,
)
pipeline.run()
right = pipeline.predict(images[1500:]).argmax(1) == labels[1500:]
print(f"{pipeline.schedule.cycles} clock cycles, test accuracy {right.float().mean():.3f}")
