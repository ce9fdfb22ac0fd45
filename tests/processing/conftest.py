"""One processor of each family, and media for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import media, processors
from vega3d.processing import Vega3DProcessor


@pytest.fixture(params=list(processors.HOSTS))
def host(request: pytest.FixtureRequest) -> Any:
    """The host's own processor, of every family in turn."""
    return processors.host_processor(request.param)


@pytest.fixture
def processor(host: Any) -> Vega3DProcessor:
    """Ours around it."""
    return Vega3DProcessor(host)


@pytest.fixture
def qwen() -> Vega3DProcessor:
    """Ours around Qwen2.5-VL's, where the family does not matter."""
    return Vega3DProcessor(processors.host_processor())


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An mp4 of 12 numbered frames at 8 frames a second, 64x48."""
    return media.write_video(tmp_path_factory.mktemp("clips") / "clip.mp4", 12)


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An mp4 of one frame."""
    return media.write_video(tmp_path_factory.mktemp("clips") / "short.mp4", 1)


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A png, 80x60."""
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    media.photo(80, 60, seed=3).save(path)
    return path
