"""The arguments of a call to the adapter: which of them are media, and what must stand beside what.

This module reads names, presence and lengths only; it encodes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from vega3d.errors import InputError
from vega3d.hosts import Modality

PARTS: dict[Modality, tuple[str, ...]] = {
    "image": ("pixel_values", "image_grid_thw", "generative_images", "image_groups", "image_features"),
    "video": (
        "pixel_values_videos",
        "video_grid_thw",
        "generative_videos",
        "generative_plans",
        "video_features",
    ),
}
"""Arguments of each modality: the host's pixels and their grid, then what belongs to the generator."""

MEDIA = tuple(name for names in PARTS.values() for name in names)
CACHES = ("cache", "past_key_values", "cache_params")


def is_given(value: Any) -> bool:
    """True for an argument that holds anything; empty lists and tensors without rows do not."""
    return value is not None and len(value) > 0


def require_whole(modality: Modality, values: Sequence[Any]) -> bool:
    """Check that both sides of one modality are there, or neither.

    Args:
        modality: ``image`` or ``video``.
        values: of its arguments, in the order of ``PARTS``.

    Returns:
        True if there are media of this modality.

    Raises:
        InputError: one side is missing, or the sides differ in number.
    """
    pixels, grid_thw, frames, *_ = (is_given(value) for value in values)
    names = PARTS[modality]
    given = [name for name, value in zip(names, values, strict=True) if is_given(value)]
    if not pixels:
        if given:
            raise _missing(names[0], given, modality)
        return False
    if not grid_thw:
        raise _missing(names[1], given, modality)
    expected, got = len(values[1]), len(values[2]) if frames else 0
    if expected != got:
        raise InputError(
            f"{names[2]} does not fit the host's {modality}s.",
            got=f"{got} entries" if frames else "nothing",
            expected=f"{expected} entries, one for each {modality} of the host",
            fix="prepare the batch with Vega3DProcessor, which makes both sides from one decode",
        )
    return True


def require_one_source(media: Mapping[str, Any], encoded: bool, text: Mapping[str, Any]) -> None:
    """Refuse media that reach the host in two ways, of which one would be ignored.

    Args:
        media: the arguments of ``MEDIA``.
        encoded: an ``encoding`` is given.
        text: the other arguments; ``mm_encoder_outputs`` among them is a source, too.

    Raises:
        InputError: there is more than one source.
    """
    ready = ["encoding"] * encoded + ["mm_encoder_outputs"] * _has_outputs(text)
    given = [name for name, value in media.items() if is_given(value)]
    beside = given if encoded else [name for name in given if name in ("pixel_values", "pixel_values_videos")]
    if len(ready) + bool(beside) > 1:
        raise InputError(
            "Media are given twice: encoded and as they are.",
            got=", ".join([*ready, *beside]),
            expected="one of encoding, mm_encoder_outputs, and media",
            fix=f"drop {', '.join(beside or ready[1:])} from the call",
        )


def consumed_grids(media: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Tensor]:
    """Grids of media that need no pixels: a cache, embeddings or encoder outputs of the call hold them.

    The host makes positions from these grids, so they go to it as they are.
    """
    if not (_filled_cache(text) or text.get("inputs_embeds") is not None or _has_outputs(text)):
        return {}
    return {
        grid: media[grid]
        for pixels, grid, *_ in PARTS.values()
        if is_given(media[grid]) and not is_given(media[pixels])
    }


def with_token_ids(inputs: Tensor | None, keywords: dict[str, Any]) -> dict[str, Any]:
    """The keywords of ``generate``, with its ``inputs`` under the name that ``forward`` has for them.

    Raises:
        InputError: both names are used.
    """
    if inputs is None:
        return keywords
    if keywords.get("input_ids") is not None:
        raise InputError(
            "Token ids are given twice.",
            got="inputs and input_ids",
            expected="either of them",
            fix="drop one of them",
        )
    return keywords | {"input_ids": inputs}


def require_left_padding(attention_mask: Any) -> None:
    """Refuse rows that end in padding: the host would continue the padding, not the row.

    Args:
        attention_mask: (B, L), or anything else that the host takes, which is not checked.

    Raises:
        InputError: a row's last entry is 0; it names the rows.
    """
    if not isinstance(attention_mask, Tensor) or attention_mask.ndim != 2:
        return
    ends = (attention_mask[:, -1:] == 0).nonzero()[:, 0]  # (n,) rows
    if len(ends):
        raise InputError(
            "A batch for generate is padded on the right, so its answers would continue the padding.",
            got=f"attention_mask ends in 0 in rows {', '.join(map(str, ends.tolist()))}",
            expected="padding on the left",
            fix="build the batch with add_generation_prompt=True or padding_side='left'",
        )


def _missing(name: str, given: Sequence[str], modality: Modality) -> InputError:
    return InputError(
        f"Missing {name}.",
        got=f"only {', '.join(given)}",
        expected=f"{name} beside them",
        fix=f"pass everything that the processor returned; where a cache holds the {modality}s already, "
        f"only {modality}_grid_thw may stay",
    )


def _has_outputs(text: Mapping[str, Any]) -> bool:
    return bool(text.get("mm_encoder_outputs"))


def _filled_cache(text: Mapping[str, Any]) -> bool:
    """A cache is given, and a first turn has filled it."""
    caches = [text[name] for name in CACHES if text.get(name) is not None]
    return any(bool(cache.get_seq_length()) for cache in caches)
