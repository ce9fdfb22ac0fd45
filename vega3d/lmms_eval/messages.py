"""lmms-eval's two forms of a question, as messages of our processor; and the usual question among them.

Decision: nearly every question is one clip (or pictures) and then one text. That is what `EvalModel` answers,
with a clip encoded once for all of its questions, so such a message becomes an `EvalRequest`. A message of
another form (turns, text between media, several clips) stays a message and goes to the processor as it is.

lmms-eval has no word for "these pictures are frames of one clip". Our own tasks mark pictures with ``clip``,
which other models ignore; for other tasks the user sets it (``clip=true``). Pictures that a task gives are
all shown; those that it marks as ``sampled`` stand for a video, and as many are shown as of a video.

This module depends neither on lmms-eval's classes nor on a model.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from vega3d.errors import InputError
from vega3d.evaluation.media import PICTURE, Pictures
from vega3d.evaluation.run.model import EvalRequest

Message = dict[str, Any]
CLIP, SAMPLED = "clip", "sampled"
PICTURE_FILES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tiff", ".webp")


@dataclass(frozen=True)
class Usual:
    """One clip or pictures, and then one text.

    Attributes:
        request: the question.
        label: the text of one picture, as `EvalModel` takes it.
        frames: how many pictures are shown; None is as many as of a video.
    """

    request: EvalRequest
    label: str = PICTURE
    frames: int | None = None


def from_chat(messages: Sequence[Mapping[str, Any]], *, clip: bool = False) -> list[Message]:
    """Chat messages of lmms-eval in the form of our processor.

    Args:
        messages: ``{"role", "content": [{"type": "image" | "video", "url": …}, {"type": "text", …}]}``.
        clip: pictures of a message are frames of one clip.

    Raises:
        InputError: a message holds sound, or something else that no Qwen-VL takes.
    """
    return [
        {"role": str(message["role"]), "content": [_part(part, clip) for part in _parts(message["content"])]}
        for message in messages
    ]


def from_simple(text: str, visuals: Sequence[Any] | None, *, clip: bool = False) -> list[Message]:
    """A question in lmms-eval's simple form: its visuals, then its text.

    Raises:
        InputError: a visual is neither a picture nor the path of a video or picture.
    """
    content = [*map(_visual, visuals or ()), {"type": "text", "text": text}]
    return from_chat([{"role": "user", "content": content}], clip=clip)


def usual(messages: Sequence[Message]) -> Usual | None:
    """The question in its usual form, if it is one clip or pictures and then one text.

    Args:
        messages: as `from_chat` gives them.
    """
    *first, user = messages
    if user["role"] != "user" or [message["role"] for message in first] not in ([], ["system"]):
        return None
    *before, last = user["content"] or [{"type": "none"}]
    if last["type"] != "text" or not any(part["type"] != "text" for part in before):
        return None
    system = "".join(part.get("text", "") for message in first for part in message["content"])
    if [part["type"] for part in before] == ["video"]:
        return Usual(EvalRequest(last["text"], Path(before[0]["video"]), system))
    return _pictures(before, last["text"], system)


def with_system(messages: Sequence[Message], system: str) -> list[Message]:
    """The messages with a system prompt, where they have none of their own."""
    if not system or any(message["role"] == "system" for message in messages):
        return list(messages)
    return [{"role": "system", "content": [{"type": "text", "text": system}]}, *messages]


def _pictures(before: Sequence[Message], prompt: str, system: str) -> Usual | None:
    """Pictures in files, each with the same text in front of it but for its number."""
    images = [part for part in before if part["type"] == "image"]
    clips = {part.get(CLIP) for part in images}
    if len(clips) != 1 or not all(isinstance(part["image"], str) for part in images):
        return None
    first = before[0]["text"] if before[0]["type"] == "text" else ""
    label = first.replace("0", "{n}")
    expected: list[Message] = []
    for number, image in enumerate(images):
        text = label.replace("{n}", str(number))
        expected += [*([{"type": "text", "text": text}] if text else []), image]
    if list(before) != expected:
        return None
    media = Pictures(tuple(part["image"] for part in images), clip=clips != {None})
    sampled = all(image.get(SAMPLED) for image in images)
    return Usual(EvalRequest(prompt, media, system), label + PICTURE, None if sampled else len(images))


def _parts(content: str | Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The parts of a message; neighbouring texts are one."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    joined: list[Mapping[str, Any]] = []
    for kind, group in groupby(parts, key=lambda part: part["type"]):
        same = list(group)
        joined += [{"type": "text", "text": "".join(p["text"] for p in same)}] if kind == "text" else same
    return joined


def _part(part: Mapping[str, Any], clip: bool) -> Message:
    kind = part.get("type")
    if kind == "text":
        return {"type": "text", "text": str(part["text"])}
    if kind == "video" and isinstance(part["url"], str | os.PathLike):
        return {"type": "video", "video": os.fspath(part["url"])}
    if kind == "image":
        named = part.get(CLIP) or (CLIP if clip else None)
        marks = {CLIP: named, SAMPLED: part.get(SAMPLED)}
        return {"type": "image", "image": part["url"], **{name: mark for name, mark in marks.items() if mark}}
    what = "Invalid part of a message: vega3d cannot send it to its host."
    got, expected = f"{kind}: {type(part.get('url')).__name__}", "text, pictures, and videos by their path"
    raise InputError(what, got=got, expected=expected, fix="run this task with another model")


def _visual(visual: Any) -> Message:
    """A visual of the simple form, the path of a file or a picture in memory, as a part of the chat form."""
    kind = "image" if hasattr(visual, "convert") else "unknown"
    if isinstance(visual, str):
        kind = "image" if Path(visual).suffix.lower() in PICTURE_FILES else "video"
    return {"type": kind, "url": visual}
