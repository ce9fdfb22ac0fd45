"""Annotation rows are turned into the runs that a processor will look for, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from tests import media
from tests.cache.conftest import SETTINGS, chat, image, jobs_of, video
from vega3d.cache import EncodeJob, JobPlanner, Problem
from vega3d.cache.jobs import decode
from vega3d.data import media_rows, read_rows
from vega3d.errors import InputError, Vega3DError
from vega3d.media.image import image_size, load_image


def addresses(jobs: list[EncodeJob]) -> set[str]:
    return {job.key.digest for job in jobs}


def one_row(tmp_path: Path, row: Any) -> list[EncodeJob]:
    file = tmp_path / "one.json"
    file.write_text(json.dumps([row]))
    return jobs_of(file)


def test_a_frame_that_many_rows_ask_about_is_one_job(annotations: Path) -> None:
    jobs = jobs_of(annotations)
    assert len(addresses(jobs)) < len(jobs)
    first = [job for job in jobs if job.files[0].endswith("a.mp4") and job.key.frames == (0,)]
    assert len(first) == 3
    assert len(addresses(first)) == 1


def test_the_same_file_under_two_names_is_one_job(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", 4)
    shutil.copy(tmp_path / "a.mp4", tmp_path / "copy.mp4")
    one, two = (one_row(tmp_path, {"video": name}) for name in ("a.mp4", "copy.mp4"))
    assert addresses(one) == addresses(two)


def test_a_picture_has_one_address_alone_in_a_list_and_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for number in range(2):
        media.photo(seed=number).save(tmp_path / "frames" / f"{number}.png")
    alone = one_row(tmp_path, {"image": "frames/0.png"})
    listed = one_row(tmp_path, {"video": ["frames/0.png", "frames/1.png"]})
    folder = one_row(tmp_path, {"video": "frames"})
    assert addresses(alone) < addresses(listed) == addresses(folder)


@pytest.mark.parametrize("orientation", [None, 1, 3, 6, 8])
def test_the_size_of_a_picture_is_read_as_it_will_be_decoded(tmp_path: Path, orientation: int | None) -> None:
    exif = PIL.Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    media.photo(80, 60).save(tmp_path / "a.jpg", exif=exif)
    assert image_size(tmp_path / "a.jpg") == tuple(load_image(tmp_path / "a.jpg").shape[1:])


def test_relative_paths_start_at_the_file_or_at_the_root(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    media.photo().save(tmp_path / "media" / "a.png")
    file = tmp_path / "train.json"
    file.write_text(json.dumps([{"image": "a.png"}]))
    (row,) = read_rows(file, tmp_path / "media")
    assert row.images[0].source == str(tmp_path / "media" / "a.png")


def test_ranks_share_the_work_without_overlap(annotations: Path) -> None:
    every = addresses(jobs_of(annotations))
    parts = [addresses(jobs_of(annotations, JobPlanner(SETTINGS, rank=rank, world=3))) for rank in range(3)]
    assert set().union(*parts) == every
    assert sum(map(len, parts)) == len(every)


def test_one_long_video_is_work_for_every_rank(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", 130)
    file = tmp_path / "one.json"
    file.write_text(json.dumps([{"messages": [chat(video("a.mp4", nframes=128))]}]))
    parts = [jobs_of(file, JobPlanner(SETTINGS, rank=rank, world=2)) for rank in range(2)]
    assert all(parts)
    assert sum(map(len, parts)) == 128


def test_a_missing_or_broken_medium_is_a_problem_of_its_row_alone(annotations: Path) -> None:
    rows = annotations.read_text().splitlines()
    (annotations.parent / "broken.mp4").write_bytes(b"no video")
    rows[1:1] = [json.dumps({"video": "nothing.mp4"}), json.dumps({"video": "broken.mp4"})]
    annotations.write_text("\n".join(rows))
    found = [one for row in JobPlanner(SETTINGS).of(read_rows(annotations)) for one in row]
    problems = [one for one in found if isinstance(one, Problem)]
    assert [problem.where for problem in problems] == ["train.jsonl, row 1", "train.jsonl, row 2"]
    assert "nothing.mp4" in str(problems[0].error)
    assert len(found) > 20


def test_a_row_that_cannot_be_understood_names_itself(tmp_path: Path) -> None:
    file = tmp_path / "train.json"
    file.write_text(json.dumps([{"messages": [chat(image("a.png", colour="red"))]}]))
    with pytest.raises(InputError, match="row 0"):
        list(read_rows(file))


@pytest.mark.parametrize("text", ["{", "\x00", '[{"image": "a.png"}'])
def test_a_damaged_annotation_file_is_an_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "train.json"
    file.write_text(text)
    with pytest.raises(InputError, match="train"):
        list(read_rows(file))


def test_media_can_be_named_themselves(tmp_path: Path) -> None:
    media.photo().save(tmp_path / "a.png")
    media.write_video(tmp_path / "b.mp4", 4)
    rows = list(media_rows([str(tmp_path / "a.png"), str(tmp_path / "b.mp4")]))
    assert [(len(row.images), len(row.videos)) for row in rows] == [(1, 0), (0, 1)]


def test_frames_are_decoded_as_the_key_counts_them(annotations: Path) -> None:
    jobs = [job for job in jobs_of(annotations) if job.files[0].endswith("a.mp4")]
    for job, frames in zip(jobs, decode(jobs), strict=True):
        assert isinstance(frames, torch.Tensor)
        assert tuple(media.number_of(frame) for frame in frames) == job.key.frames


def test_one_broken_frame_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    media.write_video(tmp_path / "a.mp4", 6)
    good, bad = (EncodeJob(job.key, job.kind, job.files) for job in one_row(tmp_path, {"video": "a.mp4"})[:2])
    import dataclasses

    beyond = dataclasses.replace(bad, key=dataclasses.replace(bad.key, frames=(99,)))
    fine, broken = decode([good, beyond])
    assert isinstance(fine, torch.Tensor)
    assert isinstance(broken, Vega3DError)
