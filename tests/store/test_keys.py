"""The address of a feature is made of contents: a name says nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.store.conftest import key
from vega3d.errors import MediaNotFoundError
from vega3d.store import FeatureKey, identify
from vega3d.store.format import identify_set


def test_a_file_is_its_contents(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"the same")
    assert identify(tmp_path / "a.mp4") == identify(tmp_path / "b.mp4") == identify(b"the same")


def test_a_replaced_file_has_another_identity(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(b"one")
    before = identify(file)
    file.write_bytes(b"two")
    os.utime(file, ns=(1, 1))
    assert identify(file) != before


@pytest.mark.parametrize("policy", ["content", "stat"])
def test_an_untouched_file_keeps_its_identity(tmp_path: Path, policy: str) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(b"one")
    assert identify(file, policy) == identify(str(file), policy)  # type: ignore[arg-type]


def test_size_and_time_stand_for_contents_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "a.mp4"
    file.write_bytes(b"one")
    before = identify(file, "stat")
    os.utime(file, ns=(1, 1))
    assert identify(file, "stat") != before


def test_a_picture_is_its_pixels() -> None:
    picture = torch.randint(0, 256, (3, 4, 5), dtype=torch.uint8)
    assert identify(picture) == identify(picture.clone())
    assert identify(picture) != identify(picture.reshape(3, 5, 4))
    assert identify(picture) != identify(255 - picture)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError):
        identify(tmp_path / "nothing.mp4")


def test_a_set_of_one_is_that_one() -> None:
    assert identify_set(["sha256:ab"]) == "sha256:ab"
    assert identify_set(["a", "b"]) != identify_set(["b", "a"])


@given(
    frames=st.lists(st.integers(0, 10**6), min_size=1, max_size=5).map(tuple),
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
)
def test_a_key_survives_json(frames: tuple[int, ...], size: tuple[int, int]) -> None:
    one = FeatureKey("sha256:ab", frames, size)
    again = FeatureKey.from_dict(json.loads(json.dumps(one.to_dict())))
    assert again == one
    assert again.digest == one.digest


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 9)), min_size=2, max_size=2, unique=True))
def test_different_keys_have_different_addresses(pair: list[tuple[int, int]]) -> None:
    first, second = (key(number, size=(size, size)) for number, size in pair)
    assert first.digest != second.digest
