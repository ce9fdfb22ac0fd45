"""A data set of the hub is the folder that a benchmark reads; nothing is fetched unless asked for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError

from tests.disk import room_for
from tests.evaluation.run.fakes import samples_of
from vega3d._utils.files import part_of
from vega3d.errors import InputError, WriteError
from vega3d.evaluation import hub
from vega3d.evaluation.media import length, missing

NAME = "nyu-visionx/VSI-Bench"


@pytest.fixture
def snapshot(every_benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """VSI-Bench as its repository has it: rows as parquet, clips in a zip file; the hub's cache elsewhere."""
    folder = tmp_path / "snapshots" / "abc"
    folder.mkdir(parents=True)
    rows = [json.loads(line) for line in (every_benchmark / "test.jsonl").read_text().splitlines()]
    datasets.Dataset.from_list(rows).to_parquet(folder / "test-00000-of-00001.parquet")
    with zipfile.ZipFile(folder / "rooms.zip", "w") as opened:
        for clip in (every_benchmark / "rooms").glob("*.mp4"):
            opened.write(clip, f"rooms/{clip.name}")
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    return folder


def given(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> list[dict[str, Any]]:
    """A hub whose cache holds the folder, or nothing; returns what it is asked."""
    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> str:
        asked.append({"name": name, **options})
        if folder is None:
            raise LocalEntryNotFoundError("not in the cache")
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", download)
    return asked


def test_a_repository_with_zipped_clips_is_read_as_the_folder_it_is_of(
    every_benchmark: Path, snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, snapshot)
    ours, local = (samples_of("vsibench", root) for root in (hub.folder_of(f"hub:{NAME}"), every_benchmark))
    assert [(q.id, q.scene, q.kind) for q in ours] == [(q.id, q.scene, q.kind) for q in local]
    assert not any(missing(q.media) for q in ours)
    assert length(ours[0].media) == length(local[0].media)


def test_rows_are_those_that_datasets_gives(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, snapshot)
    rows = datasets.load_dataset("parquet", data_files=str(snapshot / "*.parquet"), split="train")
    ours = samples_of("vsibench", hub.folder_of(f"hub:{NAME}"))
    assert [dict(question.record) for question in ours] == list(rows)


def test_nothing_is_downloaded_unless_it_is_asked_for(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = given(monkeypatch, snapshot)
    hub.folder_of(f"hub:{NAME}")
    hub.folder_of(f"hub:{NAME}@main", download=True)
    assert [call["local_files_only"] for call in asked] == [True, False]
    assert [call["revision"] for call in asked] == [None, "main"]
    assert {call["repo_type"] for call in asked} == {"dataset"}


def test_what_is_not_in_the_cache_is_said_with_the_flag_that_fetches_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given(monkeypatch, None)
    with pytest.raises(InputError, match="--download"):
        hub.folder_of(f"hub:{NAME}")


def test_clips_are_unpacked_once(snapshot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given(monkeypatch, snapshot)
    first = hub.folder_of(f"hub:{NAME}")
    (snapshot / "rooms.zip").write_bytes(b"changed")
    assert hub.folder_of(f"hub:{NAME}") == first
    assert list((first / "rooms").glob("*.mp4"))


def test_a_damaged_zip_is_named_and_leaves_nothing_that_looks_whole(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, snapshot)
    (snapshot / "rooms.zip").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"Cannot unpack rooms\.zip"):
        hub.folder_of(f"hub:{NAME}")
    shutil.rmtree(snapshot)


def test_what_a_killed_process_had_half_unpacked_is_swept_and_what_a_live_one_unpacks_stays(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, snapshot)
    target = hub.folder_of(f"hub:{NAME}")
    shutil.rmtree(target)
    live, killed = part_of(target), part_of(target)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    killed = killed.with_name(killed.name.replace(f".{os.getpid()}-", f".{ended.pid}-"))
    for part in (live, killed):
        (part / "rooms").mkdir(parents=True)
    assert hub.folder_of(f"hub:{NAME}") == target
    assert (live.exists(), killed.exists()) == (True, False)


def test_a_disk_that_is_full_while_clips_are_unpacked_is_a_typed_error(
    snapshot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, snapshot)
    with room_for(100), pytest.raises(WriteError, match="Cannot write"):
        hub.folder_of(f"hub:{NAME}")
    folder = hub.folder_of(f"hub:{NAME}")
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_a_plain_path_is_a_folder_and_asks_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = given(monkeypatch, None)
    assert hub.folder_of(str(tmp_path)) == tmp_path
    assert asked == []
