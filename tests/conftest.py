"""For every test: transformers can be imported, nothing reaches a network, randomness is seeded."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

import vega3d._torchvision  # noqa: F401  (before the first test module imports transformers)

torch.set_num_threads(1)  # tests are small; a second thread only waits


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same global generator at the start of every test."""
    torch.manual_seed(0)
