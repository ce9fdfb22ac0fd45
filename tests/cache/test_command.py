"""``vega3d cache`` as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import media
from vega3d.cli.main import main
from vega3d.store import FeatureKey, FeatureStore

pytestmark = pytest.mark.filterwarnings("ignore:No frame rate")
PICO = ["--backbone", "pico", "--set", "pixels=2304", "--set", "block=1"]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; returns exit code, standard output and standard error."""

    def run(*words: object) -> tuple[int, str, str]:
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def built(tmp_path: Path, annotations: Path, said: Any) -> Path:
    code, out, _ = said("cache", "build", tmp_path / "store", annotations, *PICO)
    assert code == 0
    assert "runs computed, 0 were there" in out
    return tmp_path / "store"


def flip(store: Path, where: int = -3) -> bytes:
    """Flip one bit of the largest shard under a new name; returns the whole one."""
    file = max(store.glob("*.safetensors"), key=lambda one: one.stat().st_size)
    whole = file.read_bytes()
    broken = bytearray(whole)
    broken[where] ^= 4
    file.unlink()
    FeatureStore(store).new_shard().write_bytes(bytes(broken))
    return whole


def contents(store: Path) -> dict[str, torch.Tensor]:
    opened = FeatureStore(store)
    return {
        found.digest: opened.read([FeatureKey.from_dict(found.info["key"])]).features  # type: ignore[union-attr]
        for found in opened.entries()
    }


def test_building_again_computes_nothing_and_needs_no_settings(
    built: Path, annotations: Path, said: Any
) -> None:
    code, out, _ = said("cache", "build", built, annotations)
    assert code == 0
    assert out.startswith("0 runs computed")


def test_settings_that_the_store_does_not_have_are_refused(built: Path, annotations: Path, said: Any) -> None:
    code, _, err = said("cache", "build", built, annotations, "--set", "sigma=0.5")
    assert code == 1
    assert "sigma=0.5" in err


def test_an_estimate_counts_what_the_build_stores(built: Path, annotations: Path, said: Any) -> None:
    code, out, _ = said("cache", "estimate", annotations, *PICO, "--tflops", "1")
    stored = FeatureStore(built)
    assert code == 0
    assert f"{len(stored)} different" in out
    size = sum(found.size for found in stored.entries())
    assert f"{size / 1000:.3g} kB in all" in out


@pytest.mark.parametrize("changes", [("--grid", "merged"), ("--grid", "patch"), ("--set", "picture=matched")])
def test_features_on_a_hosts_grid_name_the_version_that_stores_them(
    tmp_path: Path, annotations: Path, said: Any, changes: tuple[str, str]
) -> None:
    code, _, err = said("cache", "build", tmp_path / "store", annotations, *PICO, *changes)
    assert code == 1
    assert "version 0.1" in err
    assert "vega3d cache build" in err


def test_a_host_is_accepted_and_ignored(built: Path, annotations: Path, said: Any) -> None:
    with pytest.warns(FutureWarning, match="--host is ignored"):
        code, out, _ = said("cache", "stats", built, annotations, "--host", "pico")
    assert code == 0
    assert "are stored" in out


def test_verify_says_that_all_is_well(built: Path, said: Any) -> None:
    code, out, _ = said("cache", "verify", built)
    assert code == 0
    assert "0 are not" in out


def test_verify_finds_a_flipped_byte_and_repair_computes_only_that_again(built: Path, said: Any) -> None:
    before = contents(built)
    flip(built)
    code, out, err = said("cache", "verify", built)
    assert code == 1
    assert "differ from what was written" in out
    assert "repair" in err
    code, out, _ = said("cache", "repair", built)
    assert code == 0
    assert out.startswith("1 dropped, 1 computed again")
    after = contents(built)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[digest], after[digest]) for digest in before)


def test_marked_pictures_are_repaired_with_their_marks(tmp_path: Path, annotations: Path, said: Any) -> None:
    words = ("cache", "build", tmp_path / "store", annotations, *PICO, "--marks", "both")
    assert said(*words)[0] == 0
    store = tmp_path / "store"
    before = contents(store)
    (marked,) = (found for found in FeatureStore(store).entries() if any(found.info["marks"]))
    flip(store, marked.tensors["values"].start)
    assert said("cache", "repair", store)[1].startswith("1 dropped, 1 computed again")
    after = contents(store)
    assert all(torch.equal(before[digest], after[digest]) for digest in before)


def test_a_shard_that_lost_its_header_is_rebuilt_from_the_annotations(
    built: Path, annotations: Path, said: Any
) -> None:
    before = contents(built)
    flip(built, where=3)
    assert said("cache", "verify", built)[0] == 1
    code, out, _ = said("cache", "repair", built)
    assert code == 0
    assert "build" in out
    said("cache", "build", built, annotations)
    after = contents(built)
    assert all(torch.equal(before[digest], after[digest]) for digest in before)
    assert said("cache", "verify", built)[0] == 0


def test_a_swapped_file_is_named_and_its_features_are_dropped(
    built: Path, annotations: Path, said: Any
) -> None:
    media.write_video(annotations.parent / "b.mp4", 7)
    code, out, _ = said("cache", "verify", built)
    assert code == 1
    assert "b.mp4 has changed since" in out
    assert said("cache", "verify", built, "--no-media")[0] == 0
    said("cache", "repair", built)
    assert said("cache", "verify", built)[0] == 0
    code, out, _ = said("cache", "build", built, annotations)
    assert code == 0
    assert not out.startswith("0 runs")


def test_media_that_are_not_there_prove_nothing(built: Path, annotations: Path, said: Any) -> None:
    shutil.rmtree(annotations.parent / "frames")
    (annotations.parent / "a.mp4").unlink()
    assert said("cache", "verify", built)[0] == 0


def test_statistics_say_how_often_frames_are_shared(built: Path, annotations: Path, said: Any) -> None:
    code, out, _ = said("cache", "stats", built, annotations)
    stored = len(FeatureStore(built))
    assert code == 0
    assert f"{stored} runs of" in out
    assert "times each" in out
    assert f"{stored} of them are stored, 0 are not" in out
    assert "device cpu" in out


def test_gc_drops_what_no_annotation_needs_and_nothing_else(
    tmp_path: Path, built: Path, annotations: Path, said: Any
) -> None:
    fewer = annotations.with_name("fewer.jsonl")
    fewer.write_text(json.dumps({"video": "a.mp4"}))
    before = contents(built)
    assert "would be dropped" in said("cache", "gc", built, fewer, "--dry-run")[1]
    assert contents(built).keys() == before.keys()
    code, _, _ = said("cache", "gc", built, fewer)
    after = contents(built)
    assert code == 0
    assert 0 < len(after) < len(before)
    assert said("cache", "build", built, fewer)[1].startswith("0 runs computed")
    assert all(torch.equal(before[digest], after[digest]) for digest in after)


def test_gc_drops_nothing_while_media_cannot_be_read(built: Path, annotations: Path, said: Any) -> None:
    before = contents(built)
    (annotations.parent / "a.mp4").unlink()
    code, _, err = said("cache", "gc", built, annotations)
    assert code == 1
    assert "nothing is dropped" in err
    assert contents(built).keys() == before.keys()


def test_a_broken_medium_is_named_and_the_rest_is_built(tmp_path: Path, annotations: Path, said: Any) -> None:
    media.write_truncated(tmp_path / "broken.mp4", 0.02)
    with annotations.open("a") as file:
        file.write(json.dumps({"video": "broken.mp4"}) + "\n")
    code, out, err = said("cache", "build", tmp_path / "store", annotations, *PICO)
    assert code == 1
    assert "broken.mp4" in err
    assert "1 media could not be used" in err
    assert not out.startswith("0 runs")


def test_two_ranks_build_one_store(
    tmp_path: Path, annotations: Path, built: Path, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "10":
        monkeypatch.setenv("RANK", rank)
        assert said("cache", "build", tmp_path / "shared", annotations, *PICO)[0] == 0
    whole, shared = contents(built), contents(tmp_path / "shared")
    assert whole.keys() == shared.keys()
    assert all(torch.equal(whole[digest], shared[digest]) for digest in whole)


@pytest.mark.parametrize("words", [["build", "nowhere"], ["estimate"]])
def test_without_media_there_is_nothing_to_do(
    tmp_path: Path, said: Any, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = said("cache", *words, *PICO)
    assert not (tmp_path / "nowhere").exists()
    assert code == 1
    assert "--media" in err


def test_without_a_generator_nothing_can_be_computed(tmp_path: Path, annotations: Path, said: Any) -> None:
    code, _, err = said("cache", "build", tmp_path / "store", annotations)
    assert code == 1
    assert "--backbone" in err


@pytest.mark.parametrize("part", ["verify", "repair", "stats"])
def test_a_folder_without_a_store_is_an_error(tmp_path: Path, said: Any, part: str) -> None:
    code, _, err = said("cache", part, tmp_path)
    assert code == 1
    assert "Cannot read the feature store" in err


# ---------------------------------------------------------------- asking with a store


def test_the_answer_is_the_same_with_and_without_a_store(tmp_path: Path, said: Any) -> None:
    clip = media.write_video(tmp_path / "a.mp4", 12)
    words = ("ask", clip, "How many chairs are there?", "--quiet", "--json", "--max-new-tokens", 4)
    code, _, _ = said(
        "cache", "build", tmp_path / "store", "--media", clip, "--nframes", 8, "--backbone", "pico"
    )
    assert code == 0
    plain, stored, alone = (
        json.loads(said(*words, *more)[1])
        for more in (
            [],
            ["--store", tmp_path / "store"],
            ["--store", tmp_path / "store", "--backbone", "none"],
        )
    )
    assert plain["answer"] == stored["answer"] == alone["answer"]


def test_what_is_not_stored_cannot_be_asked_without_a_backbone(tmp_path: Path, said: Any) -> None:
    clip, other = (
        media.write_video(tmp_path / f"{name}.mp4", frames) for name, frames in (("a", 12), ("b", 9))
    )
    said("cache", "build", tmp_path / "store", "--media", clip, "--nframes", 8, "--backbone", "pico")
    words = ("ask", other, "What?", "--quiet", "--store", tmp_path / "store", "--backbone", "none")
    code, _, err = said(*words)
    assert code == 1
    assert "b.mp4" in err
    assert "vega3d cache build" in err


def test_no_backbone_and_no_store_is_an_error(tmp_path: Path, said: Any) -> None:
    clip = media.write_video(tmp_path / "a.mp4", 4)
    code, _, err = said("ask", clip, "What?", "--quiet", "--frames", 4, "--backbone", "none")
    assert code == 1
    assert "--store" in err
