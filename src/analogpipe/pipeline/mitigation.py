"""Two ways to soften staleness in the asynchronous modes; both act per stage, by its delay.

The delay of stage m is the number of updates between the forward and the backward of a
micro-batch: M - m, or 2 (M - m) on full-duplex arrays.

*Learning-rate warm-up*, as the learning-rate rescheduling of PipeMare (arXiv 1910.05124): the rate
of a stage is divided by a power of its delay that falls from 1 to 0 over the first updates. On
analog arrays the rate scales the number of pulses, so nothing else is needed.

*Weight prediction*, as in SpecTrain (arXiv 1809.02839): the forward uses the weights that are
expected to be there when the backward of the same micro-batch runs, ``w + gap * v``, where ``v``
is a moving average of the recent changes of the weights by one update. The backward uses the live
weights.

On a digital accelerator prediction costs an addition. **An analog array cannot be read as if it
were shifted.** What is simulated here assumes a second array beside each one, on the same columns,
that holds ``v`` without error and is read in the same cycle with gain ``gap``, so that the currents
add up before the converter: twice the devices, no additional clock, one read-out noise. It also
assumes that the change of the weights by an update is known exactly. The result says what
prediction may gain under these favourable assumptions; it is no design of such an accelerator.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from analogpipe.pipeline.layer import array_layers

LearningRate = Callable[[int], float]


def warmed_up(lr: LearningRate, delays: Sequence[int], over: int) -> list[LearningRate]:
    """Learning rate of each stage: ``lr(b) / (1 + delay)^p`` with p falling from 1 to 0.

    ``delays`` holds the delay of each stage (staleness.delay), ``over`` the number of micro-batches
    in which ``p = max(0, 1 - b / over)`` reaches 0. A stage without delay keeps the rate: 1 + delay
    counts the updates from the read of a weight to its change, as PipeMare's tau does.
    """
    if over < 1:
        raise ValueError(f"warm-up is over {over} micro-batches, allowed is 1 or more")

    def of_stage(delay: int) -> LearningRate:
        def rate(b: int) -> float:
            return float(lr(b) / (1 + delay) ** max(0.0, 1 - b / over))

        return lr if delay == 0 else rate

    return [of_stage(delay) for delay in delays]


class Prediction:
    """Shifts the weights of a module during a forward by what its next updates are expected to do.

    ``gaps[b]`` is the number of updates between the forward and the backward of micro-batch ``b``;
    ``decay`` the decay per update of the moving average of the changes, which starts at zero.
    """

    def __init__(self, module: nn.Module, gaps: Sequence[int], decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"the decay of the prediction is {decay}, allowed is 0 <= decay < 1")
        self._gaps = gaps
        self._decay = decay
        self._weights: list[Tensor] = [p for p in module.parameters() if p.requires_grad]
        self._weights += [weight for layer in array_layers(module) for weight in layer.weights()]
        self._current = [w.detach().clone() for w in self._weights]
        self.velocity = [torch.zeros_like(w) for w in self._current]

    @contextmanager
    def applied(self, b: int) -> Iterator[None]:
        """Within this context the weights are the ones predicted for the backward of ``b``."""
        with torch.no_grad():
            torch._foreach_add_(self._weights, self.velocity, alpha=self._gaps[b])
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._weights, self._current)

    @torch.no_grad()
    def record(self) -> None:
        """Take note of what an update has changed; call it after each."""
        torch._foreach_sub_(self._current, self._weights)
        torch._foreach_mul_(self.velocity, self._decay)
        torch._foreach_add_(self.velocity, self._current, alpha=self._decay - 1)
        torch._foreach_copy_(self._current, self._weights)

    @torch.no_grad()
    def load(self, velocity: Sequence[Tensor]) -> None:
        """Restore the moving average; the weights must have been restored before."""
        torch._foreach_copy_(self.velocity, list(velocity))
        torch._foreach_copy_(self._current, self._weights)
