import threading

import torch

from analogpipe.seeds import generator
from analogpipe.tile import scratch as module
from analogpipe.tile.kernels.backend import kernels_of
from analogpipe.tile.kernels.reading import _space
from analogpipe.tile.read import read
from analogpipe.tile.scratch import kept, scratch
from analogpipe.tile.sections import ReadoutConfig

LIKE = torch.empty(0)


def _read(x: torch.Tensor, matrix: torch.Tensor, config: ReadoutConfig) -> torch.Tensor:
    return read(x, matrix, config, generator(0), kernels_of(matrix))


def test_memory_is_shared_by_name_and_grows() -> None:
    small = scratch("a test", (2, 3), LIKE)
    assert scratch("a test", (2, 3), LIKE) is small
    assert scratch("a test", (6,), LIKE).data_ptr() == small.data_ptr()
    assert scratch("another", (2, 3), LIKE).data_ptr() != small.data_ptr()
    assert scratch("a test", (70, 3), LIKE).shape == (70, 3)
    assert scratch("a test", (2, 3), LIKE).data_ptr() == scratch("a test", (1,), LIKE).data_ptr()


def test_threads_have_their_own() -> None:
    found: list[int] = []
    mine = scratch("a test", (5,), LIKE).data_ptr()
    thread = threading.Thread(target=lambda: found.append(scratch("a test", (5,), LIKE).data_ptr()))
    thread.start()
    thread.join()
    assert found[0] != mine


def test_what_is_kept_is_made_once_and_not_for_ever() -> None:
    made: list[int] = []
    for _ in range(2):
        kept("once", lambda: made.append(1))
    assert made == [1]
    for size in range(2 * module.MOST):
        kept(("a test", size), lambda: None)
        scratch("shapes", (1, size), LIKE)
    assert len(module._spaces.kept) <= module.MOST
    assert all(len(views) <= module.MOST for views in module._spaces.views.values())


def test_reads_of_growing_batches_keep_memory_for_the_largest_alone() -> None:
    _space.__init__()  # type: ignore[misc] # as in a new thread
    matrix = torch.rand(100, 10)
    for rows in range(1, 200):
        _read(torch.rand(rows, 100), matrix, ReadoutConfig())
    levels, scales, _, _ = _space.of(1, 100)
    assert (levels.size, scales.size) == (199 * 100, 199)


def test_work_space_first_made_in_inference_mode_serves_training_too() -> None:
    x, matrix = torch.rand(3, 23), torch.rand(23, 29)
    with torch.inference_mode():
        _read(x, matrix, ReadoutConfig())
    _read(x, matrix, ReadoutConfig()).add_(torch.ones(29, requires_grad=True))


def test_a_read_of_another_precision_leaves_the_next_alone() -> None:
    x, matrix = torch.rand(3, 31), torch.rand(31, 29)
    expected = _read(x, matrix, ReadoutConfig(out_noise=0.0))
    found = _read(x.double(), matrix.double(), ReadoutConfig(out_noise=0.0))
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0)
    assert torch.equal(_read(x, matrix, ReadoutConfig(out_noise=0.0)), expected)
