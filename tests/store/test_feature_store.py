"""One folder, many readers, several writers, no server."""

from __future__ import annotations

import multiprocessing
import os
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.store.conftest import BACKBONE, create, feature_map, fill, key
from vega3d._utils import files
from vega3d.errors import StoreError
from vega3d.store import FeatureFormat, FeatureStore
from vega3d.store.shards import provenance_line

Made = Callable[..., FeatureStore]


def test_what_was_written_is_read_bit_by_bit(made: Made) -> None:
    store = FeatureStore(made().path)
    for number in range(12):
        found = store.read([key(number)])
        assert found is not None
        assert torch.equal(found.features, feature_map(number).features)


@pytest.mark.parametrize(
    "other",
    [
        {"frames": (0, 1)},
        {"frames": (99,)},
        {"media": "sha256:cd"},
        {"size": (48, 65)},
    ],
    ids=str,
)
def test_another_key_finds_nothing(made: Made, other: dict[str, Any]) -> None:
    assert made().read([key(0, **other)]) is None


def test_a_reader_sees_what_others_write_later(made: Made) -> None:
    store = made()
    reader = FeatureStore(store.path)
    assert key(100) not in reader
    fill(store, range(100, 101))
    assert key(100) in reader


def test_steps_and_resampling_are_kept(tmp_path: Path) -> None:
    store = create(tmp_path, FeatureFormat(precision="float32"))
    from vega3d.grid import FeatureMap

    two = FeatureMap(torch.randn(4, 2, 3, 3), ((0,), (1, 2, 3, 4)), "bilinear")
    with store.writer() as writer:
        writer.add(key(0, frames=(0, 1, 2, 3, 4)), two)
    found = store.read([key(0, frames=(0, 1, 2, 3, 4))])
    assert found is not None
    assert (found.frames, found.resampling) == (two.frames, "bilinear")


def test_joined_shards_hold_the_same_features_in_fewer_files(made: Made) -> None:
    store = made()
    reader = FeatureStore(store.path)
    assert reader.read([key(0)]) is not None  # it knows the old shards
    assert store.compact() == 2
    assert len(list(store.path.glob("*.safetensors"))) == 1
    for number in range(12):
        found = reader.read([key(number)])
        assert found is not None
        assert torch.equal(found.features, feature_map(number).features)


def test_joining_keeps_who_computed_it(tmp_path: Path) -> None:
    store = create(tmp_path)
    for number in range(2):
        with store.writer(provenance={"device": "cpu of a friend"}) as writer:
            writer.add(key(number), feature_map(number))
    store.compact()
    (file,) = tmp_path.glob("*.safetensors")
    assert "device cpu of a friend" in provenance_line(file)


def test_shards_of_different_devices_are_not_joined(tmp_path: Path) -> None:
    store = create(tmp_path)
    for number in range(4):
        with store.writer(provenance={"device": f"device {number % 2}"}) as writer:
            writer.add(key(number), feature_map(number))
    assert store.compact() == 2
    names = sorted(provenance_line(file) for file in tmp_path.glob("*.safetensors"))
    assert ["device device 0" in name for name in names] == [True, False]
    assert len(FeatureStore(tmp_path)) == 4


@pytest.mark.parametrize(("age", "left"), [(0.0, True), (2 * 24 * 3600.0, False)])
def test_only_what_an_old_writer_left_is_swept_up(made: Made, age: float, left: bool) -> None:
    store = made()
    part = store.path / ".some.safetensors.1.part"
    part.write_bytes(b"half")
    os.utime(part, (time.time() - age,) * 2)
    store.compact()
    assert part.exists() is left


def test_what_a_killed_writer_left_is_swept_up_at_once(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    store = made()
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: ended.pid)
        part = files.part_of(store.new_shard())
    part.write_bytes(b"half")
    store.compact()
    assert not part.exists()


def test_a_damaged_shard_is_not_joined(made: Made) -> None:
    store = made()
    (store.path / "0-0.safetensors").write_bytes(b"\x00" * 50)
    store.compact()
    assert (store.path / "0-0.safetensors").exists()


def test_files_can_be_read_by_others_as_far_as_the_umask_allows(made: Made) -> None:
    store = made()
    about = stat.S_IMODE((store.path / "store.json").stat().st_mode)
    modes = {stat.S_IMODE(file.stat().st_mode) for file in store.path.glob("*.safetensors")}
    assert modes == {about}


# ---------------------------------------------------------------- whose features


def test_the_same_store_can_be_made_twice(made: Made) -> None:
    store = made()
    again = create(store.path, FeatureFormat(precision="float32"))
    assert len(again) == 12


@pytest.mark.parametrize(
    ("changes", "named"),
    [({"sigma": 0.5}, "sigma=0.5"), ({"block": 3, "mode": "clip"}, "block=3, mode='clip'")],
)
def test_another_generator_is_refused_by_what_differs(
    made: Made, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(StoreError, match=named):
        made().require_fingerprint("0" * 64, {**BACKBONE, **changes})


def test_other_weights_are_refused_by_fingerprint(made: Made) -> None:
    with pytest.raises(StoreError, match="other weights"):
        made().require_fingerprint("0" * 64, BACKBONE)


def test_the_same_weights_at_another_place_are_welcome(made: Made) -> None:
    made().require_settings({**BACKBONE, "path": "elsewhere", "micro_batch": 4})


def test_another_form_is_refused(made: Made) -> None:
    with pytest.raises(StoreError, match="another form"):
        create(made().path, FeatureFormat(precision="int8"))


# ---------------------------------------------------------------- many processes


def _write(path: str, first: int, count: int) -> None:
    store = FeatureStore(path)
    with store.writer() as writer:
        for number in range(first, first + count):
            writer.add(key(number), feature_map(number))
            writer.flush()
            if number % 7 == 0:
                store.compact()


def _read(path: str, numbers: range, seconds: Any, torn: Any) -> None:
    store, seen = FeatureStore(path), set()
    while len(seen) < len(numbers):
        for number in numbers:
            found = store.read([key(number)])
            if found is None:
                assert number not in seen, f"{number} was there and is gone"
                continue
            if not torch.equal(found.features, feature_map(number).features):
                torn.value += 1
            seen.add(number)
        if seconds.wait(0.001):
            break


def test_two_writers_and_four_readers_at_once_see_whole_features_only(tmp_path: Path) -> None:
    create(tmp_path, FeatureFormat(precision="float32"))
    context = multiprocessing.get_context("fork")  # they start at once
    torn, stop = context.Value("i", 0), context.Event()
    path, numbers = str(tmp_path), range(80)
    readers = [context.Process(target=_read, args=(path, numbers, stop, torn)) for _ in range(4)]
    writers = [context.Process(target=_write, args=(path, first, 50)) for first in (0, 30)]
    for process in readers + writers:
        process.start()
    for process in writers:
        process.join()
    for process in readers:
        process.join(300)
    stop.set()
    assert [process.exitcode for process in readers + writers] == [0] * 6
    assert torn.value == 0
    assert FeatureStore(tmp_path).digests() == {key(number).digest for number in numbers}


def _fill_a_small_disk(path: str, refused: Any) -> None:
    store = FeatureStore(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # bytes of any one file
    writer = store.writer()
    writer.add(key(0), feature_map(0))
    writer.flush()
    for number in range(1, 100):
        writer.add(key(number), feature_map(number, channels=64))
    try:
        writer.flush()
    except StoreError as error:
        refused.value = int("room" in str(error) and "run the same command again" in str(error))


def test_no_space_left_is_an_error_and_the_store_stays_whole(tmp_path: Path) -> None:
    create(tmp_path, FeatureFormat(precision="float32"))
    context = multiprocessing.get_context("fork")
    refused = context.Value("i", 0)
    process = context.Process(target=_fill_a_small_disk, args=(str(tmp_path), refused))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert refused.value == 1
    store = FeatureStore(tmp_path)
    assert store.digests() == {key(0).digest}
    assert all(not file.endswith(".part") for file in os.listdir(tmp_path))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="Cannot write"):
        create(tmp_path / "file" / "store")


def test_of_two_generators_that_make_one_store_at_once_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(fingerprint: str) -> FeatureStore:
        return FeatureStore.create(tmp_path / "store", fingerprint=fingerprint, backbone={"type": "any"})

    link = os.link

    def late(*paths: Path) -> None:  # the other one is done between our look and our write
        monkeypatch.setattr(os, "link", link)
        assert make("first").fingerprint == "first"
        link(*paths)

    monkeypatch.setattr(os, "link", late)
    with pytest.raises(StoreError, match="another generator"):
        make("second")
    assert FeatureStore(tmp_path / "store").fingerprint == "first"
