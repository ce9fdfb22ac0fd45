"""Points and boxes on pictures: what is drawn, who sees it, and what it does to a feature's address."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests import processors
from tests.processing.helpers import image, user
from vega3d import Vega3DConfig
from vega3d.errors import InputError
from vega3d.media.overlays import Mark, draw, identify_drawn, parse_marks
from vega3d.processing import Vega3DProcessor

PICTURE = torch.full((3, 60, 80), 120, dtype=torch.uint8)
RED = {"point": [40, 30]}
BLUE = {"box": [10, 10, 30, 40], "colour": "blue"}


def test_a_point_is_where_it_was_put() -> None:
    drawn = draw(PICTURE, parse_marks([RED]))
    assert drawn[:, 30, 40].tolist() == [255, 0, 0]
    changed = (drawn != PICTURE).any(dim=0).nonzero()
    assert (changed - torch.tensor([30, 40])).abs().max() <= 3


def test_a_box_is_an_outline() -> None:
    drawn = draw(PICTURE, parse_marks([BLUE]))
    assert drawn[:, 10, 20].tolist() == [0, 0, 255]
    assert drawn[:, 25, 20].tolist() == [120, 120, 120]


def test_the_picture_itself_is_not_changed() -> None:
    before = PICTURE.clone()
    draw(PICTURE, parse_marks([RED, BLUE]))
    assert torch.equal(PICTURE, before)


def test_without_marks_the_picture_is_handed_on() -> None:
    assert draw(PICTURE, ()) is PICTURE


@given(x=st.floats(-1e4, 1e4), y=st.floats(-1e4, 1e4), width=st.floats(0, 1e4), height=st.floats(0, 1e4))
def test_marks_may_lie_outside_the_picture(x: float, y: float, width: float, height: float) -> None:
    marks = (Mark("point", (x, y)), Mark("box", (x, y, x + width, y + height)))
    assert draw(PICTURE, marks).shape == PICTURE.shape


def test_marks_survive_a_message() -> None:
    marks = parse_marks([RED, BLUE])
    assert parse_marks([mark.to_dict() for mark in marks]) == marks


@pytest.mark.parametrize(
    "wrong",
    [
        "red",
        [{}],
        [{"point": [1]}],
        [{"point": [1, "2"]}],
        [{"point": [1, float("nan")]}],
        [{"point": [1, 10**400]}],
        [{"box": [0, 0, 1, 10**9]}],
        [{"box": [30, 10, 10, 40]}],
        [{"point": [1, 2], "box": [1, 2, 3, 4]}],
        [{"point": [1, 2], "colour": "reddish"}],
        [{"circle": [1, 2]}],
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_an_error(wrong: Any) -> None:
    with pytest.raises(InputError, match="Cannot draw"):
        parse_marks(wrong)


def test_marks_are_part_of_an_identity() -> None:
    red, blue = parse_marks([RED]), parse_marks([BLUE])
    identities = {identify_drawn("sha256:ab", marks) for marks in ((), red, blue, red + blue)}
    assert len(identities) == 4
    assert "sha256:ab" in identities


@pytest.mark.parametrize(("seen", "same"), [("host", True), ("both", False)])
def test_the_generator_sees_marks_only_if_it_shall(seen: Any, same: bool) -> None:
    prepare = Vega3DProcessor(processors.host_processor(), Vega3DConfig(marks=seen))
    plain, drawn = (
        prepare.apply_chat_template(user(image(PICTURE, **keys))) for keys in ({}, {"marks": [RED]})
    )
    assert not torch.equal(plain["pixel_values"], drawn["pixel_values"])
    assert torch.equal(plain["generative_clips"][0].frames, drawn["generative_clips"][0].frames) is same


def test_settings_know_who_sees_marks() -> None:
    assert Vega3DConfig.reference().marks == "both"
    assert Vega3DConfig.from_dict(Vega3DConfig(marks="both").to_dict()).marks == "both"
