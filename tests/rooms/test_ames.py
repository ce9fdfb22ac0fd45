from __future__ import annotations

import hashlib
import json
from pathlib import Path

import av
import numpy as np
import pytest

from tests.rooms.surface import sample
from vega3d.cli.main import main
from vega3d.errors import ConfigError
from vega3d.geometry import contains
from vega3d.rooms import Clip
from vega3d.rooms.ames import AmesPair, ames_questions, export_ames, film_ames, make_ames

Filmed = list[tuple[AmesPair, Clip, Clip]]
STEP, SAMPLED = 6, 8


@pytest.fixture(scope="module")
def pairs() -> Filmed:
    made = [make_ames(seed) for seed in range(5)]
    return [(p, film_ames(p, 0, width=96, height=96), film_ames(p, 1, width=96, height=96)) for p in made]


def differing(a: np.ndarray, b: np.ndarray, more_than: int = 0) -> np.ndarray:
    """(T,) share of pixels that differ in some channel."""
    return (np.abs(a.astype(int) - b).max(axis=-1) > more_than).mean(axis=(1, 2))


def test_sampled_frames_of_twins_are_equal_but_for_a_pixel_in_a_thousand(pairs: Filmed) -> None:
    for _, near, far in pairs:
        frames = np.linspace(0, len(near.rgb) - 1, SAMPLED).astype(int)
        assert (frames % STEP == 0).all()
        assert differing(near.rgb[frames], far.rgb[frames]).max() <= 1e-3


def test_the_frames_between_show_parallax(pairs: Filmed) -> None:
    for pair, near, far in pairs:
        middle = differing(near.rgb, far.rgb, 16)[STEP // 2 :: STEP]
        columns = [np.nonzero(c.ids[STEP // 2] == pair.target)[1] for c in (near, far)]
        assert middle.max() > 0.005
        assert abs(columns[0].mean() - columns[1].mean()) > 1.5


def test_the_camera_is_at_one_place_in_sampled_frames_and_aside_between(pairs: Filmed) -> None:
    for pair, near, _ in pairs:
        eyes = near.poses[:, :3, 3]
        off = np.linalg.norm(eyes - pair.eye, axis=1)
        assert off[::STEP].max() < 1e-8
        assert off[STEP // 2 :: STEP].min() > 0.1
        assert np.linalg.norm(np.diff(eyes, axis=0), axis=1).max() < 0.2


def test_the_two_things_differ_in_size_and_distance_by_the_same_factor(pairs: Filmed) -> None:
    for pair, *_ in pairs:
        near, far = (next(t for t in room.instances if t.id == pair.target) for room in pair.twins)
        assert np.allclose(np.asarray(far.box.size) / near.box.size, pair.scale, rtol=1e-4)
        ray = np.asarray(near.box.centre) - pair.eye
        assert np.allclose(np.asarray(far.box.centre) - pair.eye, ray * pair.scale, atol=1e-5)
        assert pair.scale >= 1.7


def test_floating_things_touch_nothing_and_the_camera_meets_nothing(pairs: Filmed) -> None:
    for pair, near, _ in pairs:
        for room in pair.twins:
            *others, thing = room.instances
            assert thing.id == pair.target
            points = sample(thing)
            assert (np.abs(points[:, :2]) < np.asarray(room.size[:2]) / 2).all()
            assert not any(contains(other.box, points).any() for other in others)
            assert not any(contains(t.box, near.poses[:, :3, 3], 0.05).any() for t in room.instances)


def test_answers_are_those_that_depth_shows(pairs: Filmed) -> None:
    """Nearer: by the nearest pixel of each thing, in frames of the same eye."""
    for pair, *clips in pairs:
        for twin, clip in enumerate(clips):
            rays = np.linalg.norm(np.stack(np.meshgrid(*[np.linspace(-0.84, 0.84, 96)] * 2), -1), axis=-1)
            metres = clip.depth[0] * np.sqrt(1 + rays**2)
            target, rival = (float(metres[clip.ids[0] == i].min()) for i in (pair.target, pair.rival))
            nearer, distance, _ = ames_questions(pair, twin)
            option = nearer["options"]["AB".index(nearer["ground_truth"])][3:]
            thing = next(t for t in pair.twins[twin].instances if t.id == pair.target)
            assert (option == thing.category) == (target < rival)
            assert target < float(distance["ground_truth"]) + 0.06 < target + max(thing.box.size) + 0.1


def test_twins_are_asked_the_same_and_answer_differently(pairs: Filmed) -> None:
    for pair, *_ in pairs:
        for a, b in zip(ames_questions(pair, 0), ames_questions(pair, 1), strict=True):
            assert (a["question"], a["options"]) == (b["question"], b["options"])
            assert a["ground_truth"] != b["ground_truth"]


def test_names_do_not_say_which_twin_is_which() -> None:
    assert {make_ames(seed).name(0)[-1] for seed in range(4)} == {"a", "b"}


def test_sampled_frames_are_still_equal_after_the_video_was_coded(tmp_path: Path) -> None:
    export_ames(tmp_path, 1, 0, width=64, height=64)
    decoded = []
    for path in sorted((tmp_path / "ames").glob("*.mp4")):
        with av.open(str(path)) as container:
            decoded.append(np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)]))
    assert differing(decoded[0][::STEP], decoded[1][::STEP], 2).max() <= 0.02
    assert differing(decoded[0], decoded[1], 16)[STEP // 2 :: STEP].max() > 0.004


def test_pairs_are_exported_once_and_alike_by_any_number_of_processes(tmp_path: Path) -> None:
    def digest(folder: Path) -> dict[str, str]:
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}

    skipped: list[bool] = []
    small = {"width": 32, "height": 32, "sampled": 3}
    export_ames(tmp_path / "a", 2, 0, **small)
    export_ames(tmp_path / "b", 2, 0, **small, workers=2)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    export_ames(tmp_path / "a", 2, 0, **small, progress=lambda d, t, s: skipped.append(s))
    assert skipped == [True, True]


def test_the_command_line_exports_pairs_with_their_questions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--width", "32", "--height", "32", "--frames", "2", "--workers", "1"]
    assert main(["rooms", "export", "--layout", "ames", "--out", str(tmp_path), *size]) == 0
    rows = [json.loads(line) for line in Path(capsys.readouterr().out.strip()).read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(6))
    assert all((tmp_path / row["dataset"] / f"{row['scene_name']}.mp4").is_file() for row in rows)


def test_the_command_line_exports_scannets_layout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = ["--width", "32", "--height", "24", "--frames", "3", "--split", "val"]
    assert main(["rooms", "export", "--out", str(tmp_path), *size]) == 0
    written = {Path(line) for line in capsys.readouterr().out.splitlines()}
    assert written == {*tmp_path.glob("processed/*.json"), *tmp_path.glob("evaluation/*/*.json")}


def test_a_pair_of_a_negative_seed_is_an_error() -> None:
    with pytest.raises(ConfigError, match="negative"):
        make_ames(-1)


@pytest.mark.full
def test_two_hundred_pairs_are_equal_in_their_sampled_frames() -> None:
    for seed in range(200):
        pair = make_ames(seed)
        near, far = (film_ames(pair, twin, width=64, height=64) for twin in (0, 1))
        assert differing(near.rgb[::STEP], far.rgb[::STEP]).max() <= 2e-3
