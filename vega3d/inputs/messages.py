"""Parse conversations into pictures and videos to load, and messages for the chat template.

Reads transformers' form and qwen-vl-utils' form of a media entry. An unknown key is an error that names the
nearest one: a misspelt ``nframes`` would otherwise silently change the model's input. A key whose value is
None counts as absent: a table has every key of its rows in every row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from vega3d.errors import InputError, UnknownKeywordError, nearest
from vega3d.media.overlays import Marks, parse_marks

KINDS = {"text": "text", "image": "image", "image_url": "image", "video": "video"}
IMAGE_SOURCES = ("image", "image_url", "url", "path", "base64")
VIDEO_SOURCES = ("video", "url", "path")
LIMITS = ("min_pixels", "max_pixels", "resized_height", "resized_width")
SAMPLING = ("fps", "nframes", "min_frames", "max_frames", "video_start", "video_end")
RATES = ("sample_fps", "raw_fps")
IMAGE_KEYS = ("type", *IMAGE_SOURCES, *LIMITS, "clip", "marks")
VIDEO_KEYS = ("type", *VIDEO_SOURCES, *LIMITS, "total_pixels", *SAMPLING, "num_frames", *RATES)
DEFAULTS = ("min_pixels", "max_pixels", "total_pixels", *SAMPLING, "num_frames", *RATES)
"""Keys that a whole call may set for all of its media."""
MAX_ENLARGED = 2**24
"""Pixels that a picture, or four frames of a video, are enlarged to at most: more than a host's own limit."""
MAX_NUMBER = 10**12  # of any limit or sampling key


@dataclass(frozen=True)
class Limits:
    """Limits of a picture, or of each frame of a video, for the host; they do not apply to the generator.

    Attributes:
        min_pixels: area in pixels that a smaller picture is enlarged to; None takes the host's.
        max_pixels: area in pixels that a larger picture is reduced to; None takes the host's.
        total_pixels: qwen-vl-utils' budget of a whole video, in pixels of frames; None for no budget.
        resized: height and width that replace the areas, rounded to the host's token size; None to use areas.
    """

    min_pixels: int | None = None
    max_pixels: int | None = None
    total_pixels: int | None = None
    resized: tuple[int, int] | None = None

    def __bool__(self) -> bool:
        return self != Limits()


@dataclass(frozen=True)
class ImageRequest:
    """A picture to load: its source, its limits, its clip in its conversation, and what to draw on it."""

    source: Any
    limits: Limits = field(default_factory=Limits)
    clip: tuple[int, str] | None = None
    marks: Marks = ()


@dataclass(frozen=True)
class VideoRequest:
    """A video to load.

    Attributes:
        source: path or address, folder of pictures, list of pictures, or array (T, 3, H, W) or (T, H, W, 3).
        limits: bounds of each frame.
        sampling: keys of ``SAMPLING`` and ``RATES`` with their values.
        metadata: transformers' ``VideoMetadata`` of frames that were already sampled.
    """

    source: Any
    limits: Limits = field(default_factory=Limits)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Conversations:
    """Parsed batch of conversations.

    Attributes:
        messages: the conversations with bare media entries, for the chat template.
        images: pictures in order of appearance over the whole batch.
        videos: videos in order of appearance over the whole batch.
        batched: True if a list of conversations was given.
    """

    messages: list[list[dict[str, Any]]]
    images: list[ImageRequest]
    videos: list[VideoRequest]
    batched: bool

    @property
    def groups(self) -> list[list[int]]:
        """Indices of the images of each clip."""
        return named_groups([request.clip for request in self.images])


def parse(conversation: Any, defaults: Mapping[str, Any] | None = None) -> Conversations:
    """Take conversations apart without changing them.

    Args:
        conversation: messages, or a list of such lists.
        defaults: values for keys of media entries that do not set them.

    Raises:
        InputError: an item is not a message, a medium has no source or several, a limit is invalid.
        UnknownKeywordError: a media entry has an unknown key.
    """
    if not isinstance(conversation, Sequence) or isinstance(conversation, str) or not conversation:
        raise _not_messages(conversation)
    batched = not isinstance(conversation[0], Mapping)
    parsed = Conversations([], [], [], batched)
    for row, messages in enumerate(conversation if batched else [conversation]):
        if not isinstance(messages, Sequence) or not all(isinstance(item, Mapping) for item in messages):
            raise _not_messages(messages)
        parsed.messages.append([_bare(message, row, parsed, defaults or {}) for message in messages])
    return parsed


def named_groups(names: Sequence[Any]) -> list[list[int]]:
    """Images with the same name are one group; None stands alone. In order of the first image."""
    groups: dict[Any, list[int]] = {}
    for index, name in enumerate(names):
        groups.setdefault(("alone", index) if name is None else ("clip", name), []).append(index)
    return list(groups.values())


def _not_messages(got: object) -> InputError:
    what, fix = "Invalid conversation: it must be a list of messages.", "for text call processor(text=…)"
    expected = '[{"role": "user", "content": [{"type": "image", "image": …}, …]}], or a list of such lists'
    return InputError(what, got=f"{type(got).__name__}: {str(got)[:80]}", expected=expected, fix=fix)


def without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that have a value."""
    return {key: value for key, value in values.items() if value is not None}


def _bare(
    message: Mapping[str, Any], row: int, parsed: Conversations, defaults: Mapping[str, Any]
) -> dict[str, Any]:
    message = without_none(message)
    content = message.get("content", "")
    if isinstance(content, str):
        return message
    if not isinstance(content, (list, tuple)):
        raise _no_content(content)
    return {**message, "content": [_entry(entry, row, parsed, defaults) for entry in content]}


def _entry(entry: Any, row: int, parsed: Conversations, defaults: Mapping[str, Any]) -> Any:
    if isinstance(entry, str):
        return {"type": "text", "text": entry}
    if not isinstance(entry, Mapping):
        raise _no_content(entry)
    entry = without_none(entry)
    kind = _kind(entry)
    if kind == "text":
        if not isinstance(entry.get("text"), str):
            raise _no_content(entry)
        return entry
    limits = limits_of({**defaults, **entry}, video=kind == "video")
    if kind == "image":
        parsed.images.append(_image(entry, row, limits))
    else:
        source = _source("video", entry, VIDEO_SOURCES, VIDEO_KEYS)
        parsed.videos.append(VideoRequest(source, limits, sampling_of(entry, defaults)))
    return {"type": kind}


def _no_content(got: Any) -> InputError:
    what, fix = "Invalid entry of a message: it is neither text nor a medium.", "correct the message"
    expected = 'text, or a list of {"type": "text", "text": …} and {"type": "image", "image": …}'
    return InputError(what, got=f"{type(got).__name__}: {str(got)[:80]}", expected=expected, fix=fix)


def _kind(entry: Mapping[str, Any]) -> str:
    declared = entry.get("type")
    for name, kind in KINDS.items():
        if name == declared or (declared is None and name in entry):
            return kind
    what, got = f"Unknown entry type {declared!r} in a message.", f"keys {sorted(map(str, entry))}"
    fix = 'write for example {"type": "image", "image": "photo.jpg"}'
    raise InputError(what, got=got, expected="type 'text', 'image' or 'video'", fix=fix)


def _image(entry: Mapping[str, Any], row: int, limits: Limits) -> ImageRequest:
    source = _source("image", entry, IMAGE_SOURCES, IMAGE_KEYS)
    if isinstance(source, Mapping):  # OpenAI's form: {"image_url": {"url": …}}
        source = source.get("url")
    if "base64" in entry and not str(source).startswith("data:"):
        source = f"data:image;base64,{source}"
    clip = (row, str(entry["clip"])) if "clip" in entry else None
    return ImageRequest(source, limits, clip, parse_marks(entry.get("marks")))


def sampling_of(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling keys of a video, its own before those of the call; ``num_frames`` means ``nframes``."""

    def pick(values: Mapping[str, Any]) -> dict[str, Any]:
        picked = {key: values[key] for key in (*SAMPLING, *RATES) if values.get(key) is not None}
        if values.get("num_frames") is not None:
            picked["nframes"] = values["num_frames"]
        return picked

    specific, general = pick(entry), pick(defaults)
    for name, value in {**general, **specific}.items():
        if not _is_number(value) and not (name == "video_end" and value == float("inf")):
            raise _bad_limit(f"Invalid {name}.", f"{name}={_short(value)}", "a number")
        if name in (*RATES, "fps") and not value > 0:
            raise _bad_limit(f"Invalid {name}.", f"{name}={value}", "a positive number of frames a second")
    if "fps" in specific or "nframes" in specific:  # the two exclude each other
        general = {key: value for key, value in general.items() if key not in ("fps", "nframes")}
    return {**general, **specific}


def limits_of(values: Mapping[str, Any], video: bool = False) -> Limits:
    """The limits among the keys of a media entry.

    Raises:
        InputError: a limit is not a positive number, they contradict, or one side of a size is missing.
    """
    names = (*LIMITS, "total_pixels") if video else LIMITS
    given = {name: values[name] for name in names if values.get(name) is not None}
    for name, value in given.items():
        if not _is_number(value) or not value >= 1:
            raise _bad_limit(f"Invalid {name}.", f"{name}={_short(value)}", "a positive number of pixels")
    if given.get("min_pixels", 0) > given.get("max_pixels", float("inf")):
        raise _bad_limit("Invalid min_pixels: it is above max_pixels.", given, "min_pixels <= max_pixels")
    sides = given.get("resized_height"), given.get("resized_width")
    if (sides[0] is None) != (sides[1] is None):
        raise _bad_limit("Missing side of a size.", given, "resized_height and resized_width together")
    most = MAX_ENLARGED // 4 if video else MAX_ENLARGED
    if given.get("min_pixels", 0) > most:
        raise _bad_limit("Invalid min_pixels: it is too large.", given, f"at most {most}")
    if video and (sides[0] or 0) * (sides[1] or 0) > most:  # of a picture, qwen-vl-utils bounds it
        raise _bad_limit("Invalid size: a frame would become too large.", sides, f"at most {most} pixels")
    areas = {name: int(value) for name, value in given.items() if name.endswith("_pixels")}
    resized = None if sides[0] is None or sides[1] is None else (int(sides[0]), int(sides[1]))
    return Limits(resized=resized, **areas)


def _is_number(value: Any) -> bool:
    """True if a value is a number of a size that can be computed with; NaN is not."""
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and bool(-MAX_NUMBER <= value <= MAX_NUMBER)


def _short(value: object) -> str:
    if isinstance(value, int) and not _is_number(value):  # thousands of digits cannot be written out
        return f"an integer of {value.bit_length()} bits"
    return repr(value)[:80]


def _bad_limit(what: str, got: object, expected: str) -> InputError:
    return InputError(what, got=got, expected=expected, fix="correct or remove it")


def _source(kind: str, entry: Mapping[str, Any], sources: Sequence[str], accepted: Sequence[str]) -> Any:
    """The source of a media entry, whose keys are checked."""
    got, given = f"keys {sorted(map(str, entry))}", [name for name in sources if name in entry]
    for key in entry:
        if key not in accepted:
            what, close = f"Unknown key {key!r} in a message's {kind}.", nearest(str(key), accepted)
            fix = f"did you mean {close!r}?" if close else "remove it"
            raise UnknownKeywordError(what, got=got, expected="only " + ", ".join(accepted), fix=fix)
    if len(given) != 1:
        what = f"Invalid {kind} of a message: {'several sources' if given else 'no source'}."
        expected, fix = f"exactly one of {', '.join(sources)}", f'write {{"type": "{kind}", "{kind}": …}}'
        raise InputError(what, got=got, expected=expected, fix=fix)
    return entry[given[0]]
