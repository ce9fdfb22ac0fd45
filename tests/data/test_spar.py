"""SPAR's marks are drawn where its rows say, and never by a guess."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import media
from vega3d.data import SparMarks, read_rows
from vega3d.errors import InputError
from vega3d.media.image import as_tensor
from vega3d.media.overlays import Mark, draw

INFO = {
    "red_point": [[395, 89]],
    "blue_point": [[494, 620]],
    "green_bbox": [[10, 20, 30, 40]],
    "point_img_idx": [[0, 2]],
    "bbox_img_idx": [[1]],
    "type": "some_task",
}


def rows(tmp_path: Path, info: Any, spar: SparMarks | None, pictures: int = 3) -> list[Any]:
    turns = [
        {"from": "human", "value": "<image>\n" * pictures + "How deep?"},
        {"from": "gpt", "value": "1.5"},
    ]
    record = {"images": ["a.png"] * pictures, "conversations": turns, "spar_info": info}
    (tmp_path / "spar.json").write_text(json.dumps([record]))
    return list(read_rows(tmp_path / "spar.json", spar=spar))


def marks_of(row: Any) -> list[list[tuple[str, str, tuple[float, ...]]]]:
    return [[(mark.shape, mark.colour, mark.at) for mark in one.marks] for one in row.images]


def test_each_mark_is_on_the_picture_that_the_row_names(tmp_path: Path) -> None:
    row = rows(tmp_path, json.dumps(INFO), SparMarks("pixels", "keys"))[0]
    assert marks_of(row) == [
        [("point", "red", (395.0, 89.0))],
        [("box", "green", (10.0, 20.0, 30.0, 40.0))],
        [("point", "blue", (494.0, 620.0))],
    ]


def test_numbers_of_pictures_follow_what_the_settings_say(tmp_path: Path) -> None:
    info = {"blue_point": [[1, 2]], "red_point": [[3, 4]], "point_img_idx": [[0, 1]]}
    by_key = rows(tmp_path, info, SparMarks("pixels", "keys"))[0]
    by_colour = rows(tmp_path, info, SparMarks("pixels", "colours"))[0]
    assert [[one[1] for one in own] for own in marks_of(by_key)] == [["blue"], ["red"], []]
    assert [[one[1] for one in own] for own in marks_of(by_colour)] == [["red"], ["blue"], []]


def test_a_row_with_marks_is_refused_until_somebody_says_how_to_read_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"row 0.*Missing setting 'spar'") as caught:
        rows(tmp_path, INFO, None)
    assert "spar:" in str(caught.value)


@pytest.mark.parametrize("info", [None, "", {}, {"type": "camera_motion"}, '{"type": "x", "red_point": []}'])
def test_a_row_without_marks_needs_no_setting(info: Any, tmp_path: Path) -> None:
    assert marks_of(rows(tmp_path, info, None)[0]) == [[], [], []]


@pytest.mark.parametrize(
    "info",
    [
        "{not json",
        [1],
        {"red_point": [[1, 2]], "blue_point": [[1, 2]], "point_img_idx": [[0]]},
        {"red_point": [[1, 2]], "point_img_idx": [[7]]},
        {"mauve_point": [[1, 2]], "point_img_idx": [[0]]},
        {"red_point": [[1]], "point_img_idx": [[0]]},
    ],
)
def test_marks_that_make_no_sense_are_refused(info: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 0"):
        rows(tmp_path, info, SparMarks("pixels", "keys"))


@given(x=st.integers(0, 999), y=st.integers(0, 999), width=st.integers(30, 200), height=st.integers(30, 200))
def test_thousandths_hit_the_same_place_at_every_size(x: int, y: int, width: int, height: int) -> None:
    picture = as_tensor(torch.zeros(3, height, width, dtype=torch.uint8))
    mark = Mark("point", (float(x), float(y)), "red", "thousandths")
    in_pixels = Mark("point", (x * width / 1000, y * height / 1000), "red")
    assert torch.equal(draw(picture, [mark]), draw(picture, [in_pixels]))


def test_a_mark_in_pixels_keeps_the_address_that_it_had() -> None:
    assert Mark("point", (1.0, 2.0)).to_dict() == {"point": [1.0, 2.0], "colour": "red"}
    assert Mark("point", (1.0, 2.0), unit="thousandths").to_dict()["unit"] == "thousandths"


def test_pictures_of_a_marked_row_are_found_as_files(tmp_path: Path) -> None:
    media.photo().save(tmp_path / "a.png")
    row = rows(tmp_path, INFO, SparMarks("thousandths", "keys"))[0]
    assert {one.source for one in row.images} == {str(tmp_path / "a.png")}
