"""The least-squares problems have the constants that they claim, and their rows are independent."""

import numpy as np
import pytest
import torch

from analogpipe.theory.problem import (
    INPUTS,
    SMALLEST,
    LeastSquares,
    Share,
    design,
    independent,
    loss,
    read_noise,
)
from analogpipe.theory.runs import Setting, linear, train
from analogpipe.tile.config import digital


def problem(rows: int = 3, sigma: float = 0.3, size: float = 0.1, seed: int = 0) -> LeastSquares:
    return LeastSquares(np.full(rows, size), np.full(rows, sigma), seed)


def test_design_has_the_spectrum():
    x = design()
    values = np.linalg.eigvalsh(x.T @ x / INPUTS)
    assert np.allclose(values, np.geomspace(SMALLEST, 1, INPUTS))


def test_every_block_is_coupled_to_every_other():
    x = design()
    hessian = np.abs(x.T @ x / INPUTS).reshape(8, 2, 8, 2).max((1, 3))
    assert (hessian > 1e-3).all()


@pytest.mark.parametrize("tile", [digital(), linear(0.6, 1e-3)], ids=["digital", "linear"])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_blocks_sum_to_the_model(tile, count):
    p = problem()
    blocks = p.blocks(count, tile, seed=0)
    weight = torch.cat([block.layer.tile.weight.normal_(0, 0.1) for block in blocks], 1)
    message, _ = p.batches()(0)
    out = message
    for block in blocks:
        out = block(out)
    assert torch.allclose(out[:, :INPUTS], message[:, :INPUTS])
    assert torch.allclose(out[:, INPUTS:], message[:, :INPUTS] @ weight.T, atol=1e-6)


def test_gradient_of_the_engine_is_that_of_the_problem():
    p = problem(sigma=0.0)
    (block,) = p.blocks(1, digital(), seed=0)
    message, target = p.batches()(0)
    loss(block(message), target).backward()
    x, e = block.layer.pending_state()
    # from w = 0: the Hessian times -w*
    hessian = design().T @ design() / INPUTS
    assert np.allclose((e.T @ x).numpy(), -p.minimiser @ hessian, atol=1e-6)
    norms = p.squared_gradients(torch.zeros(3, INPUTS))
    assert np.allclose(norms, ((p.minimiser @ hessian) ** 2).sum(1))


def test_noise_of_the_gradient_is_the_constant():
    p = problem(rows=400)
    batch = p.batches()
    x = torch.from_numpy(design()).float()
    clean = x @ torch.from_numpy(p.minimiser).float().T
    noise = torch.stack([(batch(b)[1] - clean).T @ x / INPUTS for b in range(50)])
    assert float(noise.square().sum(2).mean()) == pytest.approx(p.constants().variance, rel=0.02)
    assert abs(float((noise[1:] * noise[:-1]).sum(2).mean())) < 0.02 * p.constants().variance


def test_micro_batch_is_a_function_of_its_number():
    first, again = problem().batches(), problem().batches()
    later = [first(b)[1].clone() for b in (0, 200, 3)]
    assert all(torch.equal(again(b)[1], y) for b, y in zip((0, 200, 3), later, strict=True))
    assert not torch.equal(first(0)[1], first(1)[1])


@pytest.mark.parametrize("tile", [digital(), linear(0.6, 1e-3)], ids=["digital", "linear"])
def test_rows_do_not_know_each_other(tile):
    # the other rows get large targets: with a pulse train made for the largest signal this fails
    plain = LeastSquares(np.full(6, 0.1), np.full(6, 0.3), 0)
    loud = LeastSquares(np.array([0.1] * 3 + [0.5] * 3), np.array([0.3] * 3 + [3.0] * 3), 0)
    errors = [train(p, Setting(tile, "async", 4, 0.05, 40)) for p in (plain, loud)]
    assert np.array_equal(errors[0][:, :3], errors[1][:, :3])
    assert not np.array_equal(errors[0][:, 3:], errors[1][:, 3:])


def test_rows_would_know_each_other_with_the_trains_of_networks(monkeypatch):
    monkeypatch.setattr("analogpipe.theory.problem.independent", lambda tile: tile)
    plain = LeastSquares(np.full(6, 0.1), np.full(6, 0.3), 0)
    loud = LeastSquares(np.array([0.1] * 3 + [0.5] * 3), np.array([0.3] * 3 + [3.0] * 3), 0)
    setting = Setting(linear(0.6, 1e-3), "async", 4, 0.05, 40)
    errors = [train(p, setting) for p in (plain, loud)]
    assert not np.array_equal(errors[0][:, :3], errors[1][:, :3])


def test_read_noise_is_that_of_the_arrays():
    p = problem(rows=500, size=0.0)
    blocks = p.blocks(8, linear(0.6, 1e-3, out_noise=0.1), seed=0)
    out, _ = p.batches()(0)
    for block in blocks:
        assert isinstance(block, Share)
        out = block(out)
    measured = float(out[:, INPUTS:].detach().square().mean().sqrt())
    assert measured == pytest.approx(0.1 * read_noise(8), rel=0.02)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="16 inputs cannot be cut into 3 equal blocks"):
        problem().blocks(3, digital(), seed=0)
    mixed = LeastSquares(np.array([0.1, 0.2]), np.array([0.3, 0.3]), 0)
    with pytest.raises(ValueError, match="one sigma"):
        mixed.constants()
    assert independent(linear(0.6, 1e-3)).update.update_bl_management is False
