"""Whatever happens to the bytes of a store, a wrong feature is never served."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.store.conftest import create, feature_map, fill, key
from vega3d.errors import StoreError
from vega3d.store import FeatureFormat, FeatureStore
from vega3d.store.feature_store import Damage
from vega3d.store.shards import Found

Made = Callable[..., FeatureStore]


def shards(store: FeatureStore) -> list[Path]:
    return sorted(store.path.glob("*.safetensors"))


def served(store: FeatureStore, number: int) -> torch.Tensor | None:
    """The features of a run; None if they are missing or refused."""
    try:
        found = FeatureStore(store.path).read([key(number)])
    except StoreError:
        return None
    return found.features if found is not None else None


def flip_a_feature(store: FeatureStore) -> None:
    """Change a bit of the first shard; it gets a new name, because readers keep the header of an old one."""
    first = shards(store)[0]
    broken = bytearray(first.read_bytes())
    broken[-3] ^= 1
    first.unlink()
    store.new_shard().write_bytes(bytes(broken))


def damages(store: FeatureStore) -> list[Damage]:
    return [one for one in store.verify() if isinstance(one, Damage)]


@pytest.fixture(scope="module")
def one_shard(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureStore, bytes]:
    store = create(tmp_path_factory.mktemp("flip") / "store", FeatureFormat(precision="float32"))
    fill(store, range(4))
    return store, shards(store)[0].read_bytes()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_anywhere_in_a_shard_is_ever_served(
    one_shard: tuple[FeatureStore, bytes], place: float, bit: int
) -> None:
    store, whole = one_shard
    broken = bytearray(whole)
    broken[int(place * len(whole))] ^= 1 << bit
    shards(store)[0].unlink()
    flipped = store.new_shard()  # a shard never changes under its name, so readers keep its header
    flipped.write_bytes(bytes(broken))
    for number in range(4):
        found = served(store, number)
        assert found is None or torch.equal(found, feature_map(number).features)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_shard_that_was_cut_off_anywhere_serves_nothing_that_is_wrong(
    one_shard: tuple[FeatureStore, bytes], share: float
) -> None:
    store, whole = one_shard
    shards(store)[0].unlink()
    store.new_shard().write_bytes(whole[: int(share * len(whole))])
    for number in range(4):
        found = served(store, number)
        assert found is None or torch.equal(found, feature_map(number).features)
    assert damages(store)


@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_verify_finds_every_flipped_bit_of_the_features(
    one_shard: tuple[FeatureStore, bytes], share: float, bit: int
) -> None:
    store, whole = one_shard
    header = 8 + int.from_bytes(whole[:8], "little")
    broken = bytearray(whole)
    broken[header + int(share * (len(whole) - header))] ^= 1 << bit
    shards(store)[0].unlink()
    store.new_shard().write_bytes(bytes(broken))
    (damage,) = damages(store)
    assert damage.digest in {key(number).digest for number in range(4)}


def test_the_error_names_the_media_and_the_command(made: Made) -> None:
    store = made()
    flip_a_feature(store)
    with pytest.raises(StoreError, match=r"video_\d\.mp4[\s\S]*vega3d cache repair"):
        [FeatureStore(store.path).read([key(number)]) for number in range(12)]


def test_only_what_is_damaged_is_dropped(made: Made) -> None:
    store = made()
    flip_a_feature(store)
    (damage,) = damages(store)
    store.remove(damage.file, {damage.digest})
    assert not damages(store)
    assert len(FeatureStore(store.path)) == 11


def test_a_shard_without_a_header_is_dropped_whole(made: Made) -> None:
    store = made()
    file = store.new_shard()
    file.write_bytes(b"\x00" * 100)
    assert [one.file for one in damages(store)] == [file]
    store.remove(file, {None})
    assert not damages(store)
    assert len(FeatureStore(store.path)) == 12


def test_what_is_whole_is_reported_as_found(made: Made) -> None:
    found = list(made().verify())
    assert all(isinstance(one, Found) for one in found)
    assert len(found) == 12


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "1.0"}', '{"format": "9.0"}'])
def test_a_damaged_or_newer_description_is_refused(made: Made, text: str) -> None:
    store = made()
    (store.path / "store.json").write_text(text)
    with pytest.raises(StoreError):
        FeatureStore(store.path)


def test_an_unknown_form_in_the_description_is_refused(made: Made) -> None:
    store = made()
    about = json.loads((store.path / "store.json").read_text())
    (store.path / "store.json").write_text(json.dumps(about | {"form": {"grid": "hexagons"}}))
    with pytest.raises(StoreError):
        FeatureStore(store.path)
