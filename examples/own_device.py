"""Your own measured device: a CSV of its pulse response, a fit, and a network trained on what was fitted.

python examples/own_device.py [mine.csv]
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

import analogpipe as ap

csv = sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("measured.csv")
fit = ap.calibrate_csv(csv, kind="soft_bounds", reach=0.6)
print(fit.summary.drop(columns="true").to_string(index=False, float_format="%.3g"))

pixels, labels = (torch.as_tensor(array) for array in load_digits(return_X_y=True))
images = pixels.float() / 8 - 1
order = torch.randperm(1500, generator=torch.Generator().manual_seed(0)).repeat(5).view(-1, 6)
for name, device in (("fitted", fit.tile.device), ("ideal", ap.Ideal())):
    tile = fit.tile.model_copy(update={"device": device})
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    pipeline = ap.Pipeline(
        ap.cut(ap.to_analog(model, tile), stages=2, example=images[:6]),
        ap.plan("async", stages=2, micro_batches=len(order)),
        loss=nn.functional.cross_entropy,
        batch=lambda b: (images[order[b]], labels[order[b]]),
        lr=lambda b: 0.1,
    )
    pipeline.run()
    right = pipeline.predict(images[1500:]).argmax(1) == labels[1500:]
    print(f"{name} device: test accuracy {right.float().mean():.3f}")
