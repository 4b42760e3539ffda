"""What several test files share."""

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_profile() -> Path:
    """The profile that runs in seconds."""
    return ROOT / "tests" / "profiles" / "tiny.yaml"
