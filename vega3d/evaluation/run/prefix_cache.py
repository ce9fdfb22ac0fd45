"""Tokens and media of a clip, processed once for any number of questions about it.

Decision: many questions share a clip, and decoding it and cutting it into patches costs more than the rest of
a question's preparation together. The host's processor turns text into tokens with the media in it; up to
and with the last placeholder of a medium, all questions about a clip have the same text and so the same
tokens. What follows starts with a special token, where a tokenizer always cuts. So a further question is its
own tail of tokens behind the kept head, and that this *is* what the processor would have given is a test.

This module decodes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from vega3d.errors import InputError

TEXT = ("input_ids", "attention_mask", "mm_token_type_ids")


@dataclass(frozen=True)
class PrefixCache:
    """One clip as the processor gave it.

    Attributes:
        processor: the host's.
        head: the rendered text up to and with its last placeholder.
        ids: (n,) the tokens of the head, each placeholder as often as the medium has tokens.
        types: (n,) 0 text, 1 image, 2 video.
        media: all other inputs of one question.
        frames: number of frames or pictures that the host sees.
    """

    processor: Any
    head: str
    ids: Tensor
    types: Tensor
    media: dict[str, Any]
    frames: int

    @classmethod
    def of(cls, processor: Any, batch: Mapping[str, Any], text: str, frames: int) -> PrefixCache:
        """Keep the processor's output for one question.

        Args:
            processor: the host's.
            batch: its output for one question with media.
            text: that question, rendered.
            frames: number of frames or pictures that the host sees.
        """
        ids, types = batch["input_ids"][0], batch["mm_token_type_ids"][0]
        end = int(types.nonzero().max()) + 1
        media = {name: value for name, value in batch.items() if name not in TEXT}
        tokens = (processor.image_token, processor.video_token)
        head = text[: max(text.rfind(token) + len(token) for token in tokens if token in text)]
        return cls(processor, head, ids[:end], types[:end], media, frames)

    def tokens(self, text: str) -> Tensor:
        """The tokens (L,) of a rendered question about the clip.

        Raises:
            ValueError: the question does not begin with the clip's head.
            InputError: the question holds a lone surrogate, or the placeholder of a medium.
        """
        if not text.startswith(self.head):
            raise ValueError("not about this clip, or with another system prompt")
        tail = text[len(self.head) :]
        _require_plain(tail, (self.processor.image_token, self.processor.video_token))
        ids = self.processor.tokenizer(tail, add_special_tokens=False)["input_ids"]
        return torch.cat([self.ids, torch.tensor(ids, dtype=self.ids.dtype)])

    def batch(self, rows: Sequence[Tensor]) -> dict[str, Tensor]:
        """The text inputs of questions about the clip, padded on the left.

        Args:
            rows: tokens of each question.

        Returns:
            ``input_ids``, ``attention_mask`` and ``mm_token_type_ids``, each (B, L).
        """
        padded = partial(pad_sequence, batch_first=True, padding_side="left")
        pad_token = self.processor.tokenizer.pad_token_id
        types = [torch.nn.functional.pad(self.types, (0, len(row) - len(self.types))) for row in rows]
        return {
            "input_ids": padded(list(rows), padding_value=pad_token),
            "attention_mask": padded([torch.ones_like(row) for row in rows]),
            "mm_token_type_ids": padded(types),
        }


def repeated(media: Mapping[str, Any], times: int) -> dict[str, Any]:
    """The host's own inputs of one clip for a batch of questions about it: rows one after the other."""
    return {
        name: torch.cat([value] * times) if isinstance(value, Tensor) else list(value) * times
        for name, value in media.items()
    }


def _require_plain(text: str, placeholders: Sequence[str]) -> None:
    """Refuse text that the tokenizer does not take, or that it would take for a medium."""
    odd = [name for name in placeholders if name in text] + [c for c in text if "\ud800" <= c <= "\udfff"]
    if odd:
        what, got = "Invalid question: it cannot be cut into tokens.", f"{odd[0]!r} in {text[:200]!r}"
        expected = "Unicode text without the placeholder of a picture or video"
        raise InputError(what, got=got, expected=expected, fix="correct the question")
