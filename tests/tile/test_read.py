import pytest
import torch

from analogpipe.seeds import generator
from analogpipe.tile.kernels import compiled
from analogpipe.tile.read import read
from analogpipe.tile.sections import ReadoutConfig

QUIET = ReadoutConfig(out_noise=0)


def _read(x: torch.Tensor, weight: torch.Tensor, config: ReadoutConfig) -> torch.Tensor:
    return read(x, weight.t(), config, generator(0, "read"), compiled)


def test_perfect_reads_the_product() -> None:
    x, weight = torch.randn(3, 4), torch.randn(2, 4)
    torch.testing.assert_close(_read(x, weight, ReadoutConfig(perfect=True)), x @ weight.t())


def test_input_levels_scale_with_the_largest_input() -> None:
    config = ReadoutConfig(out_noise=0, out_res=0, inp_res=1 / 8)
    x = torch.tensor([[2.0, 0.7, -0.2, 1.3]])  # levels of 2 * 1/8 * 2 = 0.5
    torch.testing.assert_close(_read(x, torch.eye(4), config), torch.tensor([[2.0, 0.5, 0.0, 1.5]]))


def test_output_levels_and_bound() -> None:
    config = ReadoutConfig(
        out_noise=0, inp_res=0, out_bound=1, out_res=1 / 8, bound_management="none"
    )
    x = torch.tensor([[2.0, 0.7, -0.2, 1.3]])
    torch.testing.assert_close(_read(x, torch.eye(4), config), torch.tensor([[2.0, 0.5, 0.0, 1.5]]))
    torch.testing.assert_close(_read(x, 3 * torch.eye(4), config)[0, :1], torch.tensor([2.0]))


def test_bound_management_reads_again_at_half_the_input() -> None:
    weight = torch.tensor([[40.0], [0.1]])
    x = torch.tensor([[1.0], [0.1]])
    y = _read(x, weight, QUIET)
    # 40 needs two halvings to come below 12: the input 63/4 is rounded to level 16
    expected = torch.tensor([40.0 * 16 / (63 / 4), 4.0])
    torch.testing.assert_close(y[:, 0], expected, atol=4 * 24 / 510, rtol=0)
    clipped = _read(x, weight, QUIET.model_copy(update={"bound_management": "none"}))
    torch.testing.assert_close(clipped[:, 0], torch.tensor([12.0, 1.2]))


def test_bound_management_stops_at_its_limits() -> None:
    # the input step is 1/63: halved while the factor is at most 0.25 * 63, so up to 16
    assert float(_read(torch.ones(1, 1), torch.full((1, 1), 1e6), QUIET)) == 12.0 * 16


@pytest.mark.parametrize("rows", [50, 5000])
def test_output_noise_scales_with_the_largest_input(rows: int) -> None:
    config = ReadoutConfig(inp_res=0, out_res=0)
    x = torch.full((rows, 200), 3.0)
    y = _read(x, torch.zeros(200, 200), config)
    assert float(y.std()) == pytest.approx(3 * 0.06, rel=2e-2)
    assert abs(float(y.mean())) < 4 * 3 * 0.06 / y.numel() ** 0.5
    kurtosis = float((y**4).mean() / (y**2).mean() ** 2)
    assert kurtosis == pytest.approx(3, rel=0.1)


def test_a_zero_row_reads_as_zero_without_noise() -> None:
    assert not _read(torch.zeros(2, 3), torch.randn(4, 3), QUIET).any()


def test_a_changed_copy_of_a_configuration_reads_by_its_own_numbers() -> None:
    x, weight = torch.ones(2, 4), torch.ones(3, 4)
    assert float(_read(x, weight, QUIET).max()) == pytest.approx(4.0, abs=0.05)
    bare = {"out_bound": 0.5, "bound_management": "none"}
    assert float(_read(x, weight, QUIET.model_copy(update=bare)).max()) == 0.5
