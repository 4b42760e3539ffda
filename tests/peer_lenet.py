"""The network of AIHWKit's LeNet example, in its shape and at a size for tests, on scikit-learn's digits."""

from collections.abc import Callable
from typing import Any

import torch
from aihwkit.nn import AnalogConv2d, AnalogLinear, AnalogSequential
from aihwkit.optim import AnalogSGD
from sklearn.datasets import load_digits
from torch import Tensor, nn

from analogpipe.seeds import generator

LOSS = nn.functional.nll_loss


def lenet(config: Callable[[], Any], *, small: bool = True) -> Any:
    """Two convolutions and two linear layers: 16 and 32 channels of 5 x 5 for images of 28 x 28, or
    ``small`` ones for 8 x 8."""
    one, two, size, kernel, hidden = (8, 16, 2, 3, 32) if small else (16, 32, 4, 5, 128)
    padding = 1 if small else 0
    return AnalogSequential(
        AnalogConv2d(1, one, kernel, padding=padding, rpu_config=config()),
        nn.Tanh(),
        nn.MaxPool2d(2),
        AnalogConv2d(one, two, kernel, padding=padding, rpu_config=config()),
        nn.Tanh(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        AnalogLinear(two * size * size, hidden, rpu_config=config()),
        nn.Tanh(),
        AnalogLinear(hidden, 10, rpu_config=config()),
        nn.LogSoftmax(1),
    )


class Digits:
    """Micro-batches of digits in an order of ``seed``, and images to test on."""

    def __init__(self, seed: int, size: int, *, small: bool = True) -> None:
        images, labels = load_digits(return_X_y=True)
        x = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
        if not small:
            x = nn.functional.interpolate(x, size=(28, 28), mode="bilinear")
        order = torch.randperm(len(x), generator=generator(seed, "digits"))
        self.x, self.y, self.size = x[order], torch.tensor(labels)[order], size

    def __call__(self, b: int) -> tuple[Tensor, Tensor]:
        """Return micro-batch ``b``."""
        chosen = torch.arange(b * self.size, (b + 1) * self.size) % 1500
        return self.x[chosen], self.y[chosen]

    def accuracy(self, predict: Callable[[Tensor], Tensor]) -> float:
        """Return the part of test images that is recognised."""
        with torch.no_grad():
            found = predict(self.x[1500:]).argmax(1)
        return float((found == self.y[1500:]).float().mean())


def plain(
    net: nn.Module,
    batch: Callable[[int], tuple[Tensor, Tensor]],
    steps: int,
    lr: float,
    loss: Callable[[Tensor, Tensor], Tensor] = LOSS,
) -> None:
    """AIHWKit's own loop: its optimizer, a step after each batch."""
    optimizer = AnalogSGD(net.parameters(), lr=lr)
    optimizer.regroup_param_groups(net)
    for step in range(steps):
        x, y = batch(step)
        optimizer.zero_grad()
        loss(net(x), y).backward()
        optimizer.step()
