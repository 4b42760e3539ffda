"""One stage: what it keeps, what it refuses."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.stage import Stage


def test_predicting_leaves_a_frozen_part_frozen() -> None:
    frozen = nn.BatchNorm1d(2).eval()
    stage = Stage(nn.Sequential(nn.Linear(2, 2), frozen))
    stage.predict(torch.ones(3, 2))
    assert stage.module.training
    assert not frozen.training


def test_misuse_of_a_stage_is_refused() -> None:
    stage = Stage(nn.Linear(2, 2))
    with pytest.raises(StageError, match="an update needs a backward"):
        stage.update(0.1)
    with pytest.raises(StageError, match="micro-batch 3 is not in flight"):
        stage.backward(3)
    stage.forward(0, torch.zeros(1, 2))
    with pytest.raises(StageError, match="micro-batch 0 is in flight already"):
        stage.forward(0, torch.zeros(1, 2))
    last = Stage(nn.Linear(2, 2), loss=mse_loss)
    with pytest.raises(StageError, match="needs a target"):
        last.forward(0, torch.zeros(1, 2))


def test_a_micro_batch_that_was_not_kept_forbids_updates_and_checkpoints() -> None:
    stage = Stage(nn.Linear(2, 2))
    for b in (0, 1):
        y = stage.forward(b, torch.ones(1, 2), keep=False)
    stage.backward(0, torch.ones_like(y))
    with pytest.raises(StageError, match="an update before the backward"):
        stage.update(0.1)
    with pytest.raises(StageError, match="micro-batch 1 was run without keeping"):
        stage.state_dict()


class Doubled(nn.Module):
    """Changes the output of a sigmoid, which its backward needs."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid().mul_(2)


def test_an_activation_changed_in_place_is_an_error_not_a_wrong_gradient() -> None:
    stage = Stage(nn.Sequential(nn.Linear(2, 2), Doubled()))
    y = stage.forward(0, torch.ones(1, 2))
    with pytest.raises(StageError, match="changed in place"):
        stage.backward(0, torch.ones_like(y))
