"""Arguments of a call to the adapter: the media among them, and their dependencies."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, MutableMapping
from typing import Any

from torch import Tensor

from vega3d.errors import InputError
from vega3d.hosts import MODALITIES, Modality
from vega3d.inputs.clip import Clip, Planner, clips_from_tensors, flat_clips

PIXELS: dict[Modality, str] = {"image": "pixel_values", "video": "pixel_values_videos"}
GRIDS: dict[Modality, str] = {"image": "image_grid_thw", "video": "video_grid_thw"}
CLIPS = "generative_clips"
MEDIA = (*PIXELS.values(), *GRIDS.values(), CLIPS)
TENSORS = {
    "generative_images": "images",
    "image_groups": "groups",
    "generative_videos": "videos",
    "generative_plans": "plans",
}
"""Arguments of version 0.1 in place of clips, with their names in ``clips_from_tensors``."""
ACCEPTED = frozenset({*MEDIA, *TENSORS})
CACHES = ("cache", "past_key_values", "cache_params")


def is_given(value: Any) -> bool:
    """True for an argument that holds anything; empty lists and tensors without rows do not."""
    return value is not None and len(value) > 0


def take_media(arguments: MutableMapping[str, Any], planner: Planner) -> dict[str, Any]:
    """Take the media out of a call's arguments, with clips in place of tensors of frames.

    Raises:
        InputError: tensors are given beside clips, or do not fit together.
    """
    media = {name: arguments.pop(name, None) for name in MEDIA}
    media[CLIPS] = flat_clips(media[CLIPS])
    given = {name: arguments.pop(name, None) for name in TENSORS}
    given = {name: value for name, value in given.items() if is_given(value)}
    if given:
        media[CLIPS] = _converted(media, given, planner)
    return {name: value for name, value in media.items() if is_given(value)}


def _converted(media: Mapping[str, Any], given: Mapping[str, Any], planner: Planner) -> list[Clip]:
    names = ", ".join(given)
    if media[CLIPS]:
        what, got = f"Invalid {names}: the frames are in {CLIPS} already.", f"{CLIPS} and {names}"
        fix = "declare clips in the messages, or as image_groups= of Vega3DProcessor"
        raise InputError(what, got=got, expected="one of them", fix=fix)
    message = f"{names}: pass {CLIPS}, as Vega3DProcessor returns them. Tensors go with version 0.3."
    warnings.warn(message, DeprecationWarning, stacklevel=5)
    return clips_from_tensors(planner, **{TENSORS[name]: value for name, value in given.items()})


def clips_of(modality: Modality, media: Mapping[str, Any]) -> list[Clip]:
    """The clips of one modality; empty if there are no media of it.

    Raises:
        InputError: one side is missing, or the sides differ in number.
    """
    pixels, grid = PIXELS[modality], GRIDS[modality]
    clips = [clip for clip in media.get(CLIPS, ()) if clip.modality == modality]
    given = [name for name in (pixels, grid) if name in media] + [CLIPS] * bool(clips)
    for name in (pixels, grid):
        if given and name not in media:
            got, expected = f"only {', '.join(given)}", f"{name} beside them"
            fix = f"pass all that the processor returned; only {grid} may stay for {modality}s in a cache"
            raise InputError(f"Missing {name}.", got=got, expected=expected, fix=fix)
    items = sorted(item for clip in clips for item in clip.items)
    if given and items != list(range(len(media[grid]))):
        what, got = f"Invalid {CLIPS}: they do not fit the host's {modality}s.", f"items {items}"
        expected = f"each of the host's {len(media[grid])} {modality}s once"
        fix = "prepare the batch with Vega3DProcessor, which makes both sides from one decode"
        raise InputError(what, got=got, expected=expected, fix=fix)
    return clips


def require_one_source(media: Mapping[str, Any], encoded: bool, text: Mapping[str, Any]) -> None:
    """Refuse media that reach the host in two ways, of which one would be ignored.

    Raises:
        InputError: there is more than one source.
    """
    ready = ["encoding"] * encoded + ["mm_encoder_outputs"] * bool(text.get("mm_encoder_outputs"))
    beside = [name for name in media if encoded or name in PIXELS.values()]
    if len(ready) + bool(beside) > 1:
        what, got = "Invalid media: they are given twice, encoded and as they are.", ", ".join(ready + beside)
        fix = f"drop {', '.join(beside or ready[1:])} from the call"
        raise InputError(what, got=got, expected="encoding, mm_encoder_outputs, or media", fix=fix)


def consumed_grids(media: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Tensor]:
    """Grids of media that need no pixels: a cache, embeddings or encoder outputs of the call hold them.

    The host makes positions from these grids, so they go to it as they are.
    """
    caches = [text[name] for name in CACHES if text.get(name) is not None]
    is_filled = any(bool(cache.get_seq_length()) for cache in caches)  # by a first turn
    if not (is_filled or text.get("inputs_embeds") is not None or text.get("mm_encoder_outputs")):
        return {}
    alone = [GRIDS[modality] for modality in MODALITIES if PIXELS[modality] not in media]
    return {grid: media[grid] for grid in alone if grid in media}


def with_token_ids(inputs: Tensor | None, keywords: dict[str, Any]) -> dict[str, Any]:
    """The keywords of ``generate``, with its ``inputs`` under the name that ``forward`` has for them."""
    if inputs is None:
        return keywords
    if keywords.get("input_ids") is not None:
        what, got = "Invalid token ids: they are given twice.", "inputs and input_ids"
        raise InputError(what, got=got, expected="either of them", fix="drop one of them")
    return keywords | {"input_ids": inputs}


def require_left_padding(attention_mask: Any) -> None:
    """Refuse rows that end in padding: the host would continue the padding, not the row.

    Raises:
        InputError: a row's last entry is 0; it names the rows.
    """
    if not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2:
        return
    ends = (attention_mask[:, -1:] == 0).nonzero()[:, 0]  # (n,) rows
    if len(ends):
        what = "Invalid padding: a batch for generate is padded on the right, so answers would continue it."
        got = f"attention_mask ends in 0 in rows {', '.join(map(str, ends.tolist()))}"
        fix = "build the batch with add_generation_prompt=True or padding_side='left'"
        raise InputError(what, got=got, expected="padding on the left", fix=fix)
