"""Conversations to a batch with labels, as ``Trainer`` takes a ``data_collator``.

The assistant's text and the end of its turn are trained. Turns are found by their special tokens in what was
tokenized, not by tokenizing twice: two tokenizations of a text and of its beginning need not agree. The
host's family names these tokens.

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

from vega3d.data.annotations import Row, row_of
from vega3d.data.conversations import Allowed, messages_of
from vega3d.errors import ConfigError, InputError
from vega3d.hosts import HostFamily
from vega3d.processing import Vega3DProcessor
from vega3d.training.config import Overlong

IGNORED = -100  # what cross entropy leaves out
ASSISTANT = "assistant"
HEADER = 8  # tokens in which a role's name and its line break have to end; a byte a token is the worst case
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

    def _read(self, record: Mapping[str, Any], at: int) -> Row:
        return row_of(messages_of(record, Path(), self.allowed), f"row {at} of the batch")

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
        batch["labels"] = assistant_labels(
            batch["input_ids"], self.processor.tokenizer, self.processor.family.turn_tokens
        )
        return batch

    def cut(self, batch: dict[str, Any], rows: Sequence[Row]) -> None:
        """Bring a batch to ``max_length`` in place, by ``overlong``.

        Raises:
            InputError: a row is too long, and must not or cannot be cut.
        """
        longest = self.max_length
        if longest is None or batch["input_ids"].shape[1] <= longest:
            return
        kinds: Tensor = batch["mm_token_type_ids"]
        numbers = torch.arange(1, kinds.shape[1] + 1)
        ends = ((kinds > 0) * numbers).amax(dim=1) + 1  # tokens up to the end of the last picture or video
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        for row, length, end in zip(rows, lengths, ends.tolist(), strict=True):
            if length > longest and (self.overlong == "error" or end > longest):
                raise _too_long(row, length, longest, end)
        for name in ALONG:
            if name in batch:
                batch[name] = batch[name][:, :longest].contiguous()
        for row, labels, length in zip(rows, batch["labels"], lengths, strict=True):
            if not bool((labels != IGNORED).any()):
                raise _too_long(row, length, longest, longest)


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
        title = "Invalid dispatch_batches: clips cannot be cut up for several processes."
        got = f"dispatch_batches={accelerator.dispatch_batches}, {type(dataset).__name__}"
        fix = 'TrainingArguments(accelerator_config={"dispatch_batches": False})'
        raise ConfigError(title, got=got, expected="a batch that each process makes itself", fix=fix)


def _too_long(row: Row, length: int, longest: int, media: int) -> InputError:
    got = f"{length} tokens, of which {media} up to the end of its last picture or video"
    expected = f"at most {longest}, with an answer among them"
    fix = "raise max_length, lower max_pixels or nframes; overlong='truncate' cuts off text, never media"
    return InputError(f"Invalid length of {row.where}: {length} tokens.", got=got, expected=expected, fix=fix)


# ---------------------------------------------------------------- labels


def assistant_labels(
    input_ids: Tensor, tokenizer: Any, turn_tokens: tuple[str, str] = HostFamily.turn_tokens
) -> Tensor:
    """Labels (B, L): the tokens of the assistant's turns with their ends, ``IGNORED`` elsewhere.

    Args:
        input_ids: (B, L) of conversations, padded on either side.
        tokenizer: of the host.
        turn_tokens: of the host's family.

    Raises:
        InputError: the tokenizer has no turns, or a row has nothing to train on.
    """
    start, end = (_special(tokenizer, token) for token in turn_tokens)
    labels = torch.full_like(input_ids, IGNORED)
    for row, ids in enumerate(input_ids.tolist()):
        turns = [place for place, token in enumerate(ids) if token == start]
        for place in turns:
            first = _after_header(ids, place + 1, tokenizer)
            if first is not None:
                last = next((at for at in range(first, len(ids)) if ids[at] == end), len(ids) - 1)
                labels[row, first : last + 1] = input_ids[row, first : last + 1]
        if not (labels[row] != IGNORED).any():
            got = f"{len(turns)} turns, none of the assistant's with text: row {row} of the batch"
            raise nothing_to_train_on(got, "at least one answer of the assistant")
    return labels


def nothing_to_train_on(got: str, expected: str) -> InputError:
    """The error for a conversation without an answer."""
    fix = "add the answer to the row, or leave the row out"
    return InputError("Invalid conversation: nothing to train on.", got=got, expected=expected, fix=fix)


def _special(tokenizer: Any, token: str) -> int:
    number = tokenizer.convert_tokens_to_ids(token)
    if number is None or number == tokenizer.unk_token_id:
        title = f"Missing token {token}: the tokenizer does not mark turns as the host's family does."
        fix = "use the processor of the host that is trained"
        raise InputError(title, got=type(tokenizer).__name__, expected=f"{token} at each turn", fix=fix)
    return int(number)


def _after_header(ids: list[int], begin: int, tokenizer: Any) -> int | None:
    """Index at which the text of a turn begins if it is the assistant's, else None."""
    longest = len(ASSISTANT) + HEADER
    for first in range(begin + 1, min(begin + longest, len(ids)) + 1):
        head = tokenizer.decode(ids[begin:first])
        if "\n" in head:
            return first if head.split("\n")[0] == ASSISTANT else None
    return None
