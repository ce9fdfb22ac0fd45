"""Conversations to a batch with labels, as ``Trainer`` takes a ``data_collator``.

Media are opened here, in the data workers, and nothing is kept between calls: a worker's memory does not grow
over an epoch. A conversation that is too long is an error, or loses the end of its text; it never loses part
of a picture, because host and generator would then receive different media.

This module does not depend on models and optimizers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from vega3d.data import Allowed, Row, messages_of, row_of
from vega3d.errors import ConfigError, InputError
from vega3d.hosts import family_of_processor
from vega3d.processing import Vega3DProcessor
from vega3d.training.config import Overlong
from vega3d.training.labels import IGNORED, assistant_labels

ALONG = ("input_ids", "attention_mask", "labels", "mm_token_type_ids")
"""Tensors that are as long as the text."""


class Collator:
    """Makes batches of rows.

    Args:
        processor: of the wrapped model; with a store, features are read here.
        max_length: most tokens of a conversation, media included; None sets no limit.
        overlong: ``error`` refuses a longer one, ``truncate`` cuts off the end of its text.
        sampling: of media that do not state it: ``nframes``, ``fps``, ``max_pixels``, and others.
        allow_urls: records may name ``http(s)://`` addresses; rows of ``read_rows`` were checked there.
    """

    def __init__(
        self,
        processor: Vega3DProcessor,
        *,
        max_length: int | None = None,
        overlong: Overlong = "error",
        sampling: Mapping[str, Any] | None = None,
        allow_urls: bool = False,
    ) -> None:
        self.allowed = Allowed(urls=allow_urls)
        self.processor, self.max_length, self.overlong = processor, max_length, overlong
        self.sampling = dict(sampling or {})

    def __call__(self, rows: Sequence[Row | Mapping[str, Any]]) -> dict[str, Any]:
        """A batch, padded on the right.

        Args:
            rows: of ``read_rows``, or records with ``messages`` or ``conversations``.

        Returns:
            What the processor returns, and ``labels`` (B, L).

        Raises:
            InputError: a row cannot be understood, is too long, or has nothing to train on.
            MediaError, MediaNotFoundError: a medium cannot be used.
        """
        read = [row if isinstance(row, Row) else self._read(row, at) for at, row in enumerate(rows)]
        batch = self.whole(read)
        self.cut(batch, read)
        return batch

    def whole(self, rows: Sequence[Row]) -> dict[str, Any]:
        """A batch, however long it is."""
        batch = dict(
            self.processor.apply_chat_template(
                [row.messages for row in rows],
                add_generation_prompt=False,
                padding_side="right",
                **self.sampling,
            )
        )
        turn_tokens = family_of_processor(self.processor.processor).turn_tokens
        batch["labels"] = assistant_labels(batch["input_ids"], self.processor.tokenizer, turn_tokens)
        return batch

    def cut(self, batch: dict[str, Any], rows: Sequence[Row]) -> None:
        """Bring a batch to ``max_length`` in place, by ``overlong``.

        Raises:
            InputError: a row is too long, and must not or cannot be cut.
        """
        if self.max_length is not None and batch["input_ids"].shape[1] > self.max_length:
            self._cut(batch, rows, self.max_length)

    def _read(self, record: Mapping[str, Any], at: int) -> Row:
        return row_of(messages_of(record, Path(), self.allowed), f"row {at} of the batch")

    def _cut(self, batch: dict[str, Any], rows: Sequence[Row], longest: int) -> None:
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        media = self._last_medium(batch)
        for row, length, end in zip(rows, lengths, media, strict=True):
            if length > longest and (self.overlong == "error" or end > longest):
                raise _too_long(row, length, longest, end)
        for name in ALONG:
            if name in batch:
                batch[name] = batch[name][:, :longest].contiguous()
        for row, labels, length in zip(rows, batch["labels"], lengths, strict=True):
            if not bool((labels != IGNORED).any()):
                raise _too_long(row, length, longest, longest)

    def _last_medium(self, batch: Mapping[str, Any]) -> list[int]:
        """For each row the number of tokens up to the end of its last picture or video."""
        kinds: Tensor = batch["mm_token_type_ids"]
        places = torch.arange(1, kinds.shape[1] + 1)
        return [int(number) for number in ((kinds > 0) * places).amax(dim=1) + 1]


def require_own_batches(accelerator: Any, dataset: Any) -> None:
    """Refuse batches that the first process cuts up for the others: it would cut clips and patches apart.

    Args:
        accelerator: accelerate's, of the trainer.
        dataset: of the training; batches of an iterable one are dispatched by default.

    Raises:
        ConfigError: batches are dispatched.
    """
    dispatched = accelerator.dispatch_batches
    if dispatched is None:
        dispatched = isinstance(dataset, IterableDataset)
    if dispatched and accelerator.num_processes > 1:
        raise ConfigError(
            "Invalid dispatch_batches: clips cannot be cut up for several processes.",
            got=f"dispatch_batches={accelerator.dispatch_batches}, {type(dataset).__name__}",
            expected="a batch that each process makes itself",
            fix='TrainingArguments(accelerator_config={"dispatch_batches": False})',
        )


def _too_long(row: Row, length: int, longest: int, media: int) -> InputError:
    return InputError(
        f"Invalid length of {row.where}: {length} tokens.",
        got=f"{length} tokens, of which {media} up to the end of its last picture or video",
        expected=f"at most {longest}, with an answer among them",
        fix="raise max_length, lower max_pixels or the number of frames, or leave the row out; "
        "overlong='truncate' cuts off text, never media",
    )
