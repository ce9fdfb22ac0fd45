"""The study's encoders are known in its own tests, and in no others."""

from __future__ import annotations

import pytest

from experiments.miniature import register_encoders
from vega3d import registry


@pytest.fixture(autouse=True)
def known_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered for one test: the registry's own table comes back afterwards."""
    monkeypatch.setattr(registry, "_ADDED", dict(registry._ADDED))
    register_encoders()
