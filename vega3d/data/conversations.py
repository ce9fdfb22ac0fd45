"""Rows of annotation files as conversations, whatever the file calls them.

Four kinds are read: ``messages`` in transformers' or qwen-vl-utils' form, also with the media in columns of
their own as TRL has them; ``conversations`` with ``<image>`` and ``<video>`` as LLaVA and many others have
them; ``question`` and ``answer``; and rows that name media alone. Each placeholder takes the next medium, and
the numbers have to agree: a row with a picture too many would otherwise quietly ask about the wrong one. A
question without placeholders follows its media. In LLaVA-NeXT's files ``<image>`` also stands for a video;
that is read so where a row has a video and no picture. No media are opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from vega3d._utils.files import inside
from vega3d.errors import InputError
from vega3d.inputs.messages import IMAGE_SOURCES, VIDEO_SOURCES, without_none
from vega3d.media.decoding import PICTURES
from vega3d.media.source import is_url

Kind = Literal["image", "video"]
Messages = list[dict[str, Any]]

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
PLACEHOLDER = re.compile(r"<(image|video)>\n?")
SOURCES = tuple(name for name in dict.fromkeys((*IMAGE_SOURCES, *VIDEO_SOURCES)) if name != "base64")
RATES = ("fps", "nframes", "num_frames")  # a video that states one takes no other
KINDS = ("text", "image", "image_url", "video")  # of an entry without a type, by its key
MEDIA = {"image", "image_url", "video"}
PICTURE_LIMITS = ("min_pixels", "max_pixels")
EXPECTED_ROW = '{"video": "kitchen.mp4", "question": "How many chairs are there?", "answer": "4"}'
SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


@dataclass(frozen=True)
class Allowed:
    """Media that the rows of a data set may name, as rows may come from elsewhere.

    Attributes:
        urls: ``http://`` and ``https://`` addresses.
        outside: paths that lead out of the folder that relative paths start from.
    """

    urls: bool = False
    outside: bool = True


LOCAL = Allowed()


def messages_of(record: Any, base: Path, allowed: Allowed = LOCAL, *, needs_text: bool = False) -> Messages:
    """A row as a conversation whose media entries name their files.

    Args:
        record: the row; a list is taken for messages.
        base: folder that relative paths start from.
        allowed: which media the row may name.
        needs_text: refuse a row that names media alone.

    Raises:
        InputError: the row is of no known kind, a role is unknown, placeholders and media do not agree, or it
            names a medium that it may not.
    """
    if isinstance(record, list):
        record = {"messages": record}
    if not isinstance(record, Mapping):
        raise _bad_row("Invalid record: not an object.", type(record).__name__, "an object", "check the file")
    record = without_none(record)  # a table has every key of its rows in every row
    media = {kind: iter(_media(record, kind)) for kind in ("image", "video")}
    for name in ("messages", "conversations"):
        if name in record and not isinstance(record[name], list):
            got = type(record[name]).__name__
            raise _bad_row(f"Invalid key {name!r}: not a list.", got, "a list", "check the row")
    if "messages" in record:
        messages = [_filled(message, media) for message in record["messages"]]
    elif "conversations" in record:
        messages = [_turn(turn, media) for turn in _turns(record)]
    elif _is_question(record):
        messages = _asked(record, media)
    else:
        messages = [{"role": "user", "content": _alone(record, media, needs_text)}]
    for kind, left in media.items():
        if rest := list(left):
            got, expected = f"{len(rest)} {kind}(s) without a <{kind}>", f"one <{kind}> for each {kind}"
            fix = f"put <{kind}> where it belongs in the text, or leave the {kind} out"
            title = f"Missing <{kind}>: the row has more {kind}s than placeholders."
            raise _bad_row(title, got, expected, fix)
    return _with_entries(messages, partial(_with_paths, base=base, allowed=allowed))


def with_sampling(messages: Messages, defaults: Mapping[str, Any]) -> Messages:
    """A conversation whose media state how they are sampled, so that rows of several sources can be mixed.

    Args:
        messages: as ``messages_of`` gives them.
        defaults: sampling and limits of media that do not state them.
    """
    return _with_entries(messages, partial(_sampled, defaults=defaults))


def _with_entries(messages: Messages, changed: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Messages:
    """A conversation with other entries in its lists."""
    return [
        {**message, "content": [changed(part) if isinstance(part, Mapping) else part for part in content]}
        if isinstance(content := message.get("content"), list)
        else message
        for message in messages
    ]


def _sampled(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = entry.get("type") or next((name for name in KINDS if name in entry), None)
    if kind in ("image", "image_url"):
        return {**{name: defaults[name] for name in PICTURE_LIMITS if name in defaults}, **entry}
    if kind != "video":
        return entry
    has_rate = any(name in entry for name in RATES)
    return {**{name: value for name, value in defaults.items() if not (has_rate and name in RATES)}, **entry}


def _media(record: Mapping[str, Any], kind: Kind) -> list[Any]:
    """Sources of one kind; a list of pictures under ``video`` is one video by its frames."""
    sources: list[Any] = []
    for name in (kind, f"{kind}s"):
        value = record.get(name, [])
        values = value if isinstance(value, list) else [value]
        is_frames = isinstance(value, list) and all(
            isinstance(frame, str) and Path(frame).suffix.lower() in PICTURES for frame in values
        )
        sources += [values] if kind == "video" and values and is_frames else values
    return sources


def _is_question(record: Mapping[str, Any]) -> bool:
    """True for a row with a question and its answer; benchmarks also have lists under these names."""
    question, answer = record.get("question"), record.get("answer")
    return (
        isinstance(question, str) and isinstance(answer, str | int | float) and not isinstance(answer, bool)
    )


def _asked(record: Mapping[str, Any], media: Mapping[str, Iterator[Any]]) -> Messages:
    """The two turns of a question; without placeholders its media stand before it."""
    question, answer = record["question"], str(record["answer"])
    has_places = PLACEHOLDER.search(question) is not None
    content = (
        _content(question, media) if has_places else [*_entries(media), {"type": "text", "text": question}]
    )
    reply = {"role": "assistant", "content": [{"type": "text", "text": answer}]}
    return [{"role": "user", "content": content}, reply]


def _alone(
    record: Mapping[str, Any], media: Mapping[str, Iterator[Any]], needs_text: bool
) -> list[dict[str, Any]]:
    """Entries of a row that names media and no text that is read."""
    entries = _entries(media)
    if entries and not needs_text:
        return entries
    title = "Unknown keys: the row has no media and no conversation."
    if entries:
        title = "Missing conversation: the row has media, and no question and answer."
    fix = "rename the keys; the page on annotation files in the documentation has every form that is read"
    raise _bad_row(title, f"keys {', '.join(map(str, record)) or '(none)'}", EXPECTED_ROW, fix)


def _entries(media: Mapping[str, Iterator[Any]]) -> list[dict[str, Any]]:
    return [{"type": kind, kind: source} for kind in media for source in media[kind]]


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
        expected = '{"from": "human", "value": "..."}'
        raise _bad_row("Missing text in a turn.", turn, expected, "check the row")
    return {"role": _role(turn.get("from")), "content": _content(turn["value"], media)}


def _filled(message: Any, media: Mapping[str, Iterator[Any]]) -> dict[str, Any]:
    """A message whose media without a source take the next one of the row's own column."""
    if not isinstance(message, Mapping) or message.get("content") is None:
        expected = '{"role": ..., "content": ...}'
        raise _bad_row("Missing content in a message.", message, expected, "check the row")
    message = without_none(message)
    content, role = message["content"], _role(message.get("role"))
    if isinstance(content, str):
        has_media = any(PLACEHOLDER.finditer(content))
        return {**message, "role": role, "content": _content(content, media) if has_media else content}
    if not isinstance(content, list):
        got = type(content).__name__
        raise _bad_row("Invalid content of a message.", got, "text or a list", "check the row")
    return {**message, "role": role, "content": [_entry(entry, media) for entry in content]}


def _entry(entry: Any, media: Mapping[str, Iterator[Any]]) -> Any:
    if not isinstance(entry, Mapping):
        return entry
    entry = without_none(entry)
    if len(entry) == 1 and entry.get("type") in list(media):
        return {**entry, entry["type"]: _next(entry["type"], media)}
    return entry


def _content(text: str, media: Mapping[str, Iterator[Any]]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = []
    for index, part in enumerate(PLACEHOLDER.split(text)):  # text, kind, text, kind, ..., text
        if index % 2:
            entries.append({"type": part, part: _next(part, media)})
        elif part:
            entries.append({"type": "text", "text": part})
    return entries


def _next(kind: str, media: Mapping[str, Iterator[Any]]) -> Any:
    source = next(media[kind], None)
    if source is None:
        title = f"Missing {kind}: the row has more placeholders than {kind}s."
        fix = f"name the missing one under {kind!r}, or take the <{kind}> out of the text"
        raise _bad_row(title, f"a <{kind}> without {kind}", f"one {kind} for each <{kind}>", fix)
    return source


def _role(name: Any) -> str:
    if not isinstance(name, str) or name not in ROLES:
        raise _bad_row(f"Unknown role {name!r}.", name, "one of " + ", ".join(ROLES), "rename the role")
    return ROLES[name]


def _with_paths(entry: Mapping[str, Any], base: Path, allowed: Allowed) -> Mapping[str, Any]:
    if MEDIA.isdisjoint((*entry, str(entry.get("type")))):
        return entry
    return {key: resolved(value, base, allowed) if key in SOURCES else value for key, value in entry.items()}


def resolved(source: Any, base: Path, allowed: Allowed) -> Any:
    """A source with its local paths made absolute, so that it means the same in every folder."""
    if isinstance(source, list):
        return [resolved(one, base, allowed) for one in source]
    if isinstance(source, Mapping):  # OpenAI's form: {"url": …}
        return {key: resolved(one, base, allowed) if key == "url" else one for key, one in source.items()}
    if not isinstance(source, str) or source.startswith("data:"):
        return source
    scheme = SCHEME.match(source)
    if scheme is not None and scheme[1].lower() != "file":
        return _address(source, allowed)
    path = source[scheme.end() :] if scheme is not None else source
    if allowed.outside:
        return source if scheme is not None else str((base / path).absolute())
    return str(inside(base, path, fix="correct the row, or, if you trust the data: allow_outside").absolute())


def _address(source: str, allowed: Allowed) -> str:
    if is_url(source) and allowed.urls:
        return source
    expected = "a path, or an http(s) address where addresses are allowed"
    fix = "download the file, or, if you trust the data: allow_urls"
    raise _bad_row("Invalid source: an address that is not allowed.", source[:200], expected, fix)


def _bad_row(title: str, got: Any, expected: str, fix: str) -> InputError:
    return InputError(title, got=got, expected=expected, fix=fix)
