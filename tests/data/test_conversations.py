"""Rows of annotation files become conversations, whatever the file calls them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vega3d.data import Allowed, messages_of, read_rows
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
            {"video": "a.mp4", "image": "a.png", "question": "What?", "answer": 3},
            [user(A, CLIP, text("What?")), {"role": "assistant", "content": [text("3")]}],
        ),
        (
            {"images": ["a.png", "b.png"], "question": "<image> or <image>?", "answer": "A"},
            [user(A, text(" or "), B, text("?")), {"role": "assistant", "content": [text("A")]}],
        ),
        (
            {"question": "What is two and two?", "answer": "four", "id": 7},
            [user(text("What is two and two?")), {"role": "assistant", "content": [text("four")]}],
        ),
        ({"video": "a.mp4", "question": "What?", "answer": ["3", "three"]}, [user(CLIP)]),
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
        with pytest.raises(InputError, match=r"more (images|placeholders) than"):
            messages_of(row, BASE)


@pytest.mark.parametrize(
    "address", ["https://a.org/a.png", "file:///a.png", "data:image/png;base64,AA", "/a.png"]
)
def test_addresses_and_absolute_paths_stay_as_they_are(address: str) -> None:
    (message,) = messages_of({"image": address}, BASE, Allowed(urls=True))
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
        {},
        {"clip": "a.mp4", "q": "What?", "a": "3"},
        {"conversations": 5},
        {"messages": "hello"},
        {"messages": [{"role": "user", "content": 5}]},
        {"messages": [{"role": [], "content": "Hi"}]},
        {"conversations": [{"from": {}, "value": "Hi"}]},
    ],
    ids=str,
)
def test_a_row_that_cannot_be_understood_is_an_error(row: Any) -> None:
    with pytest.raises(InputError, match=r"(Invalid|Missing|Unknown) "):
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
    with pytest.raises(InputError, match="more videos than placeholders"):
        messages_of({"video": "a.mp4", "image": "a.png", "conversations": turns}, Path("/base"))


@pytest.mark.parametrize("name", ["image", "images", "video", "videos"])
def test_an_empty_list_of_media_is_none(name: str) -> None:
    turns = [{"from": "human", "value": "Where?"}, {"from": "gpt", "value": "left"}]
    found = messages_of({name: [], "conversations": turns}, Path("/base"))
    assert found == messages_of({"conversations": turns}, Path("/base"))


# --- what a row may name


def rows(folder: Path, row: Any, **settings: Any) -> list[Any]:
    (folder / "train.json").write_text(json.dumps([row]))
    return list(read_rows(folder / "train.json", **settings))


PLACES = [
    lambda source: {"image": source},
    lambda source: {"images": [source]},
    lambda source: {"video": source},
    lambda source: {"video": [f"{source}.png", f"{source}.png"]},
    lambda source: [user({"type": "image", "url": source})],
    lambda source: [user({"type": "video", "path": source})],
    lambda source: [user({"type": "image_url", "image_url": {"url": source}})],
    lambda source: [user({"image": source})],
    lambda source: {"messages": [user({"type": "image"}, text("What?"))], "image": source},
]
"""Every way in which a row names a medium."""


@pytest.mark.parametrize("place", PLACES, ids=lambda place: json.dumps(place("x")))
@pytest.mark.parametrize("address", ["http://a.org/a", "https://a.org/a", "HTTP://a.org/a"])
def test_a_row_names_no_address_unless_addresses_are_allowed(
    tmp_path: Path, place: Callable[[str], Any], address: str
) -> None:
    with pytest.raises(InputError, match=r"row 0[\s\S]*an address that is not allowed[\s\S]*allow_urls"):
        rows(tmp_path, place(address))
    assert len(rows(tmp_path, place(address), allow_urls=True)) == 1


@pytest.mark.parametrize("address", ["ftp://a.org/a.png", "s3://a/b.png", "concat://a", "rtsp://a"])
def test_a_row_names_no_address_of_another_kind(tmp_path: Path, address: str) -> None:
    with pytest.raises(InputError, match="an address that is not allowed"):
        rows(tmp_path, {"image": address}, allow_urls=True)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: json.dumps(place("x")))
@pytest.mark.parametrize(
    "path", ["../a.png", "/etc/a.png", "b/../../a.png", "file:///etc/a.png", "FILE:///etc/a"]
)
def test_a_row_does_not_leave_the_root(tmp_path: Path, place: Callable[[str], Any], path: str) -> None:
    root = tmp_path / "media"
    root.mkdir()
    with pytest.raises(InputError, match=r"row 0[\s\S]*allow_outside"):
        rows(tmp_path, place(path), root=root)
    assert len(rows(tmp_path, place(path), root=root, allow_outside=True)) == 1
    assert len(rows(tmp_path, place(path))) == 1  # without a root, rows of LLaVA's kind name what they like


def test_a_link_deep_in_the_root_is_followed_only_within_it(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "media" / "scans").mkdir(parents=True)
    (tmp_path / "media" / "mounted").symlink_to(tmp_path / "disk")
    (tmp_path / "media" / "scans" / "out").symlink_to(tmp_path)
    assert rows(tmp_path, {"image": "mounted/a.png"}, root=tmp_path / "media")
    with pytest.raises(InputError, match="a link leads to"):
        rows(tmp_path, {"image": "scans/out/a.png"}, root=tmp_path / "media")


@pytest.mark.parametrize("name", ["train.json", "train.jsonl"])
def test_an_annotation_file_that_is_nested_without_end_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(InputError, match=name):
        list(read_rows(tmp_path / name))


def test_a_row_that_is_nested_deeply_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"messages": ' + "[" * 900 + "]" * 900 + "}\n")
    with pytest.raises(InputError, match=r"train\.jsonl, row 0"):
        list(read_rows(tmp_path / "train.jsonl"))


@pytest.mark.parametrize("content", ["5", '"text"', '{"data": 5}', '{"data": {"a": 1}}', "null"])
def test_an_annotation_file_without_rows_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(InputError, match="no rows"):
        list(read_rows(tmp_path / "train.json"))


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
