from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vega3d.data import read_rows
from vega3d.errors import InputError
from vega3d.rooms import export_rooms, make_room, rooms_source
from vega3d.rooms.held_out import HELD_OUT_FAMILIES, room_is_held_out
from vega3d.rooms.scene import ROOMS_VERSION

LISTS = ("test.jsonl", "conversations.jsonl")  # of all scenes
SMALL = {"width": 64, "height": 64, "frames": 8}


def digest(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_exporting_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_rooms(tmp_path / name, 3, 5, **SMALL)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_every_question_has_its_video_and_ids_count_up(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in export_rooms(tmp_path, 3, 5, **SMALL).read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(len(rows)))
    for row in rows:
        path = tmp_path / row["dataset"] / f"{row['scene_name']}.mp4"
        assert rooms_source(path) == (int(row["scene_name"].removeprefix("room_")), ROOMS_VERSION)


def test_every_question_can_be_trained_on(tmp_path: Path) -> None:
    questions = [json.loads(line) for line in export_rooms(tmp_path, 2, 5, **SMALL).read_text().splitlines()]
    rows = list(read_rows(tmp_path / "conversations.jsonl"))
    assert len(rows) == len(questions) > 0
    for row, question in zip(rows, questions, strict=True):
        asked, answered = (message["content"] for message in row.messages)
        assert Path(row.videos[0].source).is_file()
        assert question["question"] in asked[-1]["text"]
        assert (
            answered == [{"type": "text", "text": question["ground_truth"]}]
            or answered == question["ground_truth"]
        )


def test_a_second_export_keeps_complete_scenes_and_makes_the_missing_ones(tmp_path: Path) -> None:
    export_rooms(tmp_path, 2, 5, **SMALL)
    before = digest(tmp_path)
    gone = sorted((tmp_path / "rooms").glob("*.mp4"))[1]
    gone.unlink()
    seen = []
    export_rooms(
        tmp_path, 3, 5, **SMALL, progress=lambda done, total, skipped: seen.append((done, total, skipped))
    )
    assert seen == [(1, 3, True), (2, 3, False), (3, 3, False)]
    after = digest(tmp_path)
    assert {k: v for k, v in after.items() if k in before and k not in LISTS} == {
        k: v for k, v in before.items() if k not in LISTS
    }


def test_a_damaged_scene_is_made_again(tmp_path: Path) -> None:
    export_rooms(tmp_path, 1, 5, **SMALL)
    before = digest(tmp_path)
    next((tmp_path / "rooms").glob("*.json")).write_text('{"settings": ')
    export_rooms(tmp_path, 1, 5, **SMALL)
    assert digest(tmp_path) == before


def test_scenes_of_other_settings_are_not_kept(tmp_path: Path) -> None:
    export_rooms(tmp_path, 1, 5, **SMALL)
    skipped = []
    export_rooms(tmp_path, 1, 5, width=32, height=32, frames=8, progress=lambda d, t, s: skipped.append(s))
    assert skipped == [False]


def test_an_interrupted_export_leaves_no_scene_that_looks_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vega3d.rooms.formats import vsibench as module

    def stop(*_: object, **__: object) -> list[object]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "make_questions", stop)
        with pytest.raises(KeyboardInterrupt):
            export_rooms(tmp_path, 1, 5, **SMALL)
    assert not list((tmp_path / "rooms").glob("*.json"))
    assert not list(tmp_path.rglob("*.part"))


def test_geometry_is_written_without_pickle_and_agrees_with_the_description(tmp_path: Path) -> None:
    export_rooms(tmp_path, 1, 5, **SMALL, geometry=True)
    with np.load(next((tmp_path / "rooms").glob("*.npz")), allow_pickle=False) as file:
        arrays = dict(file)
    scene = json.loads(next((tmp_path / "rooms").glob("*.json")).read_text())["scene"]
    ids, classes = arrays["ids"], arrays["classes"]
    assert arrays["depth"].shape == ids.shape == classes.shape == (8, 64, 64)
    assert np.allclose(np.linalg.norm(arrays["normals"] / 127, axis=-1), 1, atol=0.02)
    assert np.allclose(arrays["poses"], scene["poses"])
    things = {(thing["id"], thing["class"]) for thing in scene["instances"]}
    assert set(zip(ids[ids > 0].tolist(), classes[ids > 0].tolist(), strict=True)) <= things


def test_several_processes_write_the_same_bytes_as_one(tmp_path: Path) -> None:
    export_rooms(tmp_path / "a", 3, 5, **SMALL)
    done = []
    export_rooms(tmp_path / "b", 3, 5, **SMALL, workers=2, progress=lambda d, t, s: done.append((d, t, s)))
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert done == [(1, 3, False), (2, 3, False), (3, 3, False)]


def test_an_error_in_another_process_is_raised_here(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="even"):
        export_rooms(tmp_path, 2, 5, width=63, height=64, frames=2, workers=2)


def test_an_exported_video_says_which_room_it_shows(tmp_path: Path) -> None:
    export_rooms(tmp_path, 1, 5, **SMALL)
    video = next((tmp_path / "rooms").glob("*.mp4"))
    assert rooms_source(video) == (int(video.stem.removeprefix("room_")), ROOMS_VERSION)


def test_a_held_out_export_has_only_what_the_shipped_host_never_saw(tmp_path: Path) -> None:
    path = export_rooms(tmp_path, 3, 5, **SMALL, held_out=True)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    scenes = {row["scene_name"] for row in rows}
    assert len(scenes) == 3
    assert all(room_is_held_out(make_room(int(name.removeprefix("room_")))) for name in scenes)
    assert {row["question_type"] for row in rows} <= set(HELD_OUT_FAMILIES)


def test_held_out_rooms_do_not_take_the_place_of_ordinary_ones(tmp_path: Path) -> None:
    export_rooms(tmp_path, 1, 5, **SMALL, held_out=True)
    (name,) = {json.loads(line)["scene_name"] for line in (tmp_path / "test.jsonl").read_text().splitlines()}
    index = int(name.removeprefix("room_")) % 10_000
    export_rooms(tmp_path, 1, 5, **SMALL, indices=[index])
    kinds = {json.loads(line)["question_type"] for line in (tmp_path / "test.jsonl").read_text().splitlines()}
    assert kinds - set(HELD_OUT_FAMILIES)


@pytest.mark.full
def test_a_thousand_scenes_are_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("a", "b"):
        export_rooms(tmp_path / name, 1000, 0, width=64, height=64, frames=12, workers=2)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_splits_have_no_scene_in_common(tmp_path: Path) -> None:
    names = []
    for split in ("train", "val", "test"):
        export_rooms(tmp_path / split, 2, 0, split=split, **SMALL)
        names.append({p.stem for p in (tmp_path / split / "rooms").glob("*.mp4")})
    assert len(set.union(*names)) == 6


def test_rooms_and_geometry_load_neither_torch_nor_transformers_nor_av() -> None:
    code = (
        "import sys, vega3d.rooms, vega3d.geometry;"
        "print([m for m in ('torch', 'transformers', 'av', 'PIL') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
