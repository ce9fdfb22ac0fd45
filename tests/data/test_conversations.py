"""Rows of annotation files become conversations, whatever the file calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vega3d.data import messages_of, read_rows
from vega3d.errors import InputError

BASE = Path("/data")
A, B = {"type": "image", "image": "/data/a.png"}, {"type": "image", "image": "/data/b.png"}
CLIP = {"type": "video", "video": "/data/a.mp4"}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def human(words: str) -> dict[str, str]:
    return {"from": "human", "value": words}


@pytest.mark.parametrize(
    ("row", "messages"),
    [
        (
            {
                "image": "a.png",
                "conversations": [human("<image>\nWhat?"), {"from": "gpt", "value": "A chair."}],
            },
            [user(A, text("What?")), {"role": "assistant", "content": [text("A chair.")]}],
        ),
        (
            {"images": ["a.png", "b.png"], "conversations": [human("First <image> then <image>.")]},
            [user(text("First "), A, text(" then "), B, text("."))],
        ),
        ({"image": ["a.png", "b.png"]}, [user(A, B)]),
        ({"video": "a.mp4", "conversations": [human("<video>\nWhat?")]}, [user(CLIP, text("What?"))]),
        (
            {"messages": [{"role": "user", "content": "<video> What?"}], "videos": ["a.mp4"]},
            [user(CLIP, text(" What?"))],
        ),
        (
            {"messages": [user({"type": "image"}, text("What?"))], "images": ["a.png"]},
            [user(A, text("What?"))],
        ),
        (
            {"messages": [user({"type": "image", "image": "a.png"})]},
            [user(A)],
        ),
        ([{"role": "user", "content": "Hello"}], [{"role": "user", "content": "Hello"}]),
        (
            {"video": ["0.png", "1.png"], "conversations": [human("<video>What?")]},
            [user({"type": "video", "video": ["/data/0.png", "/data/1.png"]}, text("What?"))],
        ),
        (
            {"video": ["a.mp4", "b.mp4"]},
            [user(CLIP, {"type": "video", "video": "/data/b.mp4"})],
        ),
        (
            {"conversations": [{"from": "system", "value": "Be brief."}, human("Hello")]},
            [{"role": "system", "content": [text("Be brief.")]}, user(text("Hello"))],
        ),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_a_row_is_read_as_it_is_meant(row: Any, messages: list[dict[str, Any]]) -> None:
    assert messages_of(row, BASE) == messages


@given(st.integers(0, 4), st.integers(0, 4))
def test_placeholders_and_media_have_to_agree(asked: int, given_: int) -> None:
    row = {"images": ["a.png"] * given_, "conversations": [human("<image>" * asked + "What?")]}
    if asked == given_:
        (message,) = messages_of(row, BASE)
        assert [entry["type"] for entry in message["content"]] == ["image"] * asked + ["text"]
    else:
        with pytest.raises(InputError, match="more images than"):
            messages_of(row, BASE)


@pytest.mark.parametrize(
    "address", ["https://a.org/a.png", "file:///a.png", "data:image/png;base64,AA", "/a.png"]
)
def test_addresses_and_absolute_paths_stay_as_they_are(address: str) -> None:
    (message,) = messages_of({"image": address}, BASE)
    assert message["content"] == [{"type": "image", "image": address}]


@pytest.mark.parametrize(
    "row",
    [
        7,
        None,
        {"messages": ["hello"]},
        {"messages": [{"role": "user"}]},
        {"conversations": [{"from": "robot", "value": "Hi"}]},
        {"conversations": [{"from": "human", "value": None}]},
        {"conversations": ["hello"]},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_understood_is_an_error(row: Any) -> None:
    with pytest.raises(InputError, match="The row"):
        messages_of(row, BASE)


def test_a_file_names_its_row(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"image": "a.png"}\n{"conversations": [{"from": "human", "value": "<image>"}]}\n')
    with pytest.raises(InputError, match=r"train\.jsonl, row 1"):
        list(read_rows(file))


def test_marks_and_clips_of_a_message_are_kept(tmp_path: Path) -> None:
    entry = {"type": "image", "image": "a.png", "clip": "x", "marks": [{"point": [1, 2]}]}
    file = tmp_path / "train.json"
    file.write_text(json.dumps([{"messages": [user(entry, {**entry, "image": "b.png"})]}]))
    (row,) = read_rows(file)
    assert row.groups == [[0, 1]]
    assert [len(request.marks) for request in row.images] == [1, 1]


def test_image_stands_for_the_video_of_a_row_that_has_no_picture() -> None:
    turns = [{"from": "human", "value": "<image> Where?"}, {"from": "gpt", "value": "left"}]
    content = messages_of({"video": "a.mp4", "conversations": turns}, Path("/base"))[0]["content"]
    assert content[0] == {"type": "video", "video": "/base/a.mp4"}


def test_a_row_with_picture_and_video_still_says_which_is_meant() -> None:
    turns = [{"from": "human", "value": "<image> Where?"}, {"from": "gpt", "value": "left"}]
    with pytest.raises(InputError, match="more videos than it asks about"):
        messages_of({"video": "a.mp4", "image": "a.png", "conversations": turns}, Path("/base"))


@pytest.mark.parametrize("name", ["image", "images", "video", "videos"])
def test_an_empty_list_of_media_is_none(name: str) -> None:
    turns = [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "left"}]
    found = messages_of({name: [], "conversations": turns}, Path("/base"))
    assert found == messages_of({"conversations": turns}, Path("/base"))


# ---------------------------------------------------------------- keys without a value, as tables have them

ABSENT = {"image": None, "video": None, "text": None, "fps": None}


def test_keys_without_a_value_are_ignored_in_messages() -> None:
    content = [{**ABSENT, **entry} for entry in ({"type": "image"}, A, CLIP, text("Where?"))]
    row = {
        "messages": [{"role": "user", "content": content, "name": None}],
        "conversations": None,
        "images": ["b.png"],
        "video": None,
    }
    assert messages_of(row, BASE) == [user(B, A, CLIP, text("Where?"))]


def test_messages_without_a_value_are_no_messages() -> None:
    row = {"messages": None, "image": "a.png", "conversations": [{**human("<image>\nWhat?"), "weight": None}]}
    assert messages_of(row, BASE) == [user(A, text("What?"))]
    assert messages_of({"messages": None, "conversations": None, "image": "a.png"}, BASE) == [user(A)]
