"""For every test: transformers can be imported, nothing reaches a network, randomness is seeded."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for processes that tests start, too

import pytest
import torch
from hypothesis import settings

import vega3d._torchvision  # noqa: F401  (before the first test module imports transformers)

settings.register_profile("vega3d", deadline=None, derandomize=True)  # no clock, no luck
settings.load_profile("vega3d")
torch.set_num_threads(1)  # tests are small; a second thread only waits


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same global generator at the start of every test."""
    torch.manual_seed(0)
