"""For every test: transformers can be imported, nothing reaches a network, randomness is seeded."""

from __future__ import annotations

import os
from collections.abc import Iterator

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for processes that tests start, too

import pytest
import torch
from hypothesis import settings

import vega3d._utils.torchvision  # noqa: F401  (before the first test module imports transformers)

settings.register_profile("vega3d", deadline=None, derandomize=True)  # no clock, no luck
settings.load_profile("vega3d")
# tests are small, and a second thread only waits; tests/exact_matrix.py tries two
torch.set_num_threads(int(os.environ.get("VEGA3D_TEST_THREADS", "1")))


def prepare_child() -> None:
    """Keep torch's thread pool whole in a forked child.

    The pool is made anew at its first use. If several threads are first at once, as when transformers loads
    weights, one of them may fail with "Invalid thread pool!".
    """
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    torch.set_num_threads(torch.get_num_threads())


os.register_at_fork(after_in_child=prepare_child)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same global generator at the start of every test."""
    torch.manual_seed(0)


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """As many threads as the parameter says, for one test."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
