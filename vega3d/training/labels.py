"""Labels of the trained tokens: the assistant's text and the end of its turn.

Turns are found by their special tokens in what was tokenized, not by tokenizing twice: two tokenizations of a
text and of its beginning need not agree. The host's family names these tokens. This module does not depend on
media and models.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vega3d.errors import InputError
from vega3d.hosts import HostFamily

IGNORED = -100  # what cross entropy leaves out
ASSISTANT = "assistant"
HEADER = 8  # tokens in which a role's name and its line break have to end; a byte a token is the worst case


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
        raise InputError(
            f"Missing token {token}: the tokenizer does not mark turns as the host's family does.",
            got=type(tokenizer).__name__,
            expected=f"{token} at each turn",
            fix="use the processor of the host that is trained",
        )
    return int(number)


def _after_header(ids: list[int], begin: int, tokenizer: Any) -> int | None:
    """Index at which the text of a turn begins if it is the assistant's, else None."""
    longest = len(ASSISTANT) + HEADER
    for first in range(begin + 1, min(begin + longest, len(ids)) + 1):
        head = tokenizer.decode(ids[begin:first])
        if "\n" in head:
            return first if head.split("\n")[0] == ASSISTANT else None
    return None
