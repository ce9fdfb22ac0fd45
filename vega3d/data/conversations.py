"""Rows of annotation files as conversations, whatever the file calls them.

Three kinds are read: ``messages`` in transformers' or qwen-vl-utils' form, also with the media in columns of
their own as TRL has them; ``conversations`` with ``<image>`` and ``<video>`` as LLaVA and many others have
them; and rows that name media alone. Each placeholder takes the next medium, and the numbers have to agree: a
row with a picture too many would otherwise quietly ask about the wrong one. In LLaVA-NeXT's files ``<image>``
also stands for a video; that is read so where a row has a video and no picture.

This module opens no media and knows no host.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from vega3d.decoding import PICTURES
from vega3d.errors import InputError
from vega3d.messages import without_none

Kind = Literal["image", "video"]
Messages = list[dict[str, Any]]

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
PLACEHOLDER = re.compile(r"<(image|video)>\n?")


def messages_of(record: Any, base: Path) -> Messages:
    """A row as a conversation whose media entries name their files.

    Args:
        record: the row; a list is taken for messages.
        base: folder that relative paths start from.

    Raises:
        InputError: the row is of no known kind, a role is unknown, or placeholders and media do not agree.
    """
    if isinstance(record, list):
        record = {"messages": record}
    if not isinstance(record, Mapping):
        raise _bad_row("is no object", type(record).__name__, "an object", "check the file")
    record = without_none(record)  # a table has every key of its rows in every row
    media = {kind: iter(_media(record, kind)) for kind in ("image", "video")}
    if "messages" in record:
        found = [_filled(message, media) for message in record["messages"]]
    elif "conversations" in record:
        found = [_turn(turn, media) for turn in _turns(record)]
    else:
        found = [
            {"role": "user", "content": [{"type": kind, kind: one} for kind in media for one in media[kind]]}
        ]
    for kind, left in media.items():
        if rest := list(left):
            raise _bad_row(
                f"has more {kind}s than it asks about",
                f"{len(rest)} {kind}(s) without a <{kind}>",
                f"one <{kind}> for each {kind}",
                f"put <{kind}> where it belongs in the text, or leave the {kind} out",
            )
    return [_resolved(message, base) for message in found]


def _media(record: Mapping[str, Any], kind: Kind) -> list[Any]:
    """Sources of one kind; a list of pictures under ``video`` is one video by its frames."""
    found: list[Any] = []
    for name in (kind, f"{kind}s"):
        value = record.get(name, [])
        if kind == "video" and isinstance(value, list) and _are_pictures(value):
            found.append(value)
        else:
            found += value if isinstance(value, list) else [value]
    return found


def _are_pictures(values: list[Any]) -> bool:
    return bool(values) and all(
        isinstance(one, str) and Path(one).suffix.lower() in PICTURES for one in values
    )


def _turns(record: Mapping[str, Any]) -> list[Any]:
    """The turns of a row; where it has a video and no picture, ``<image>`` stands for the video."""
    turns = list(record["conversations"])
    texts = [turn.get("value") for turn in turns if isinstance(turn, Mapping)]
    asked = {hit[1] for text in texts if isinstance(text, str) for hit in PLACEHOLDER.finditer(text)}
    has_pictures = any(record.get(name) for name in ("image", "images"))
    if asked != {"image"} or has_pictures or not any(record.get(name) for name in ("video", "videos")):
        return turns
    return [{**turn, "value": turn["value"].replace("<image>", "<video>")} for turn in turns]


def _turn(turn: Any, media: Mapping[str, Iterator[Any]]) -> dict[str, Any]:
    """A turn of LLaVA's: text with placeholders."""
    if not isinstance(turn, Mapping) or not isinstance(turn.get("value"), str):
        raise _bad_row("has a turn without text", turn, '{"from": "human", "value": "..."}', "check the row")
    return {"role": _role(turn.get("from")), "content": _content(turn["value"], media)}


def _filled(message: Any, media: Mapping[str, Iterator[Any]]) -> dict[str, Any]:
    """A message whose media without a source take the next one of the row's own column."""
    if not isinstance(message, Mapping) or message.get("content") is None:
        raise _bad_row(
            "has a message without content", message, '{"role": ..., "content": ...}', "check the row"
        )
    message = without_none(message)
    content, role = message["content"], _role(message.get("role"))
    if isinstance(content, str):
        has_media = any(PLACEHOLDER.finditer(content))
        return {**message, "role": role, "content": _content(content, media) if has_media else content}
    return {**message, "role": role, "content": [_entry(entry, media) for entry in content]}


def _entry(entry: Any, media: Mapping[str, Iterator[Any]]) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    entry = without_none(entry)
    if entry.get("type") in media and len(entry) == 1:
        return {**entry, entry["type"]: _next(entry["type"], media)}
    return entry


def _content(text: str, media: Mapping[str, Iterator[Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    place = 0
    for hit in PLACEHOLDER.finditer(text):
        found += _text(text[place : hit.start()])
        found.append({"type": hit[1], hit[1]: _next(hit[1], media)})
        place = hit.end()
    return found + _text(text[place:])


def _text(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []


def _next(kind: str, media: Mapping[str, Iterator[Any]]) -> Any:
    source = next(media[kind], None)
    if source is None:
        raise _bad_row(
            f"asks about more {kind}s than it has",
            f"a <{kind}> without {kind}",
            f"one {kind} for each <{kind}>",
            f"name the missing one under {kind!r}, or take the <{kind}> out of the text",
        )
    return source


def _role(name: Any) -> str:
    if name not in ROLES:
        raise _bad_row("has an unknown role", name, "one of " + ", ".join(ROLES), "rename the role")
    return ROLES[name]


def _resolved(message: dict[str, Any], base: Path) -> dict[str, Any]:
    if isinstance(message["content"], str):
        return message
    return {**message, "content": [_with_path(entry, base) for entry in message["content"]]}


def _with_path(entry: Any, base: Path) -> Any:
    if not isinstance(entry, Mapping) or entry.get("type") not in ("image", "video"):
        return entry
    names = ("image", "video", "path")
    return {key: resolved(value, base) if key in names else value for key, value in entry.items()}


def resolved(source: Any, base: Path) -> Any:
    """A source with its local paths made absolute, so that it means the same in every folder."""
    if isinstance(source, list):
        return [resolved(one, base) for one in source]
    if not isinstance(source, str) or "://" in source or source.startswith("data:"):
        return source
    return str((base / source).absolute())


def _bad_row(problem: str, got: Any, expected: str, fix: str) -> InputError:
    return InputError(f"The row {problem}.", got=got, expected=expected, fix=fix)
