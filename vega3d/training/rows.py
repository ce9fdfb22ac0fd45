"""The rows of all annotation files as one dataset, weighted, in an order that only the seed decides.

Rows are conversations with paths; media are opened by the collator. A weight of 2.5 gives every row twice and
a seeded half of them a third time, so that what an epoch holds is known before it begins. This module knows
no processor and no model.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vega3d.data import Row, read_rows
from vega3d.errors import ConfigError
from vega3d.training.config import DataFile

RATES = ("fps", "nframes", "num_frames")
FOR_PICTURES = ("min_pixels", "max_pixels")


def load_rows(files: Sequence[DataFile], sampling: Mapping[str, Any], seed: int) -> list[Row]:
    """Rows of one epoch, in the order of the files.

    Args:
        files: what to read.
        sampling: of media that do not state it; a file's own goes before it.
        seed: of the choice among rows whose weight is no whole number.

    Raises:
        InputError: a row cannot be understood.
        ConfigError: there are no rows.
    """
    rows: list[Row] = []
    for one in files:
        defaults = {**sampling, **one.sampling}
        found = [_sampled(row, defaults) for row in read_rows(one.file, one.root, defaults)]
        rows += weighted(found, one.weight, f"{seed} {one.file}")
    if not rows:
        raise ConfigError(
            "The annotation files hold no rows.",
            got=", ".join(one.file for one in files),
            expected="at least one conversation",
            fix="check the files, or raise a weight that leaves nothing over",
        )
    return rows


def weighted(rows: Sequence[Row], weight: float, seed: str) -> list[Row]:
    """Each row ``weight`` times; of the fraction a choice that only ``seed`` decides."""
    whole = int(weight)
    rest = round((weight - whole) * len(rows))
    chosen = sorted(random.Random(seed).sample(range(len(rows)), rest))
    return [*rows] * whole + [rows[at] for at in chosen]


def _sampled(row: Row, defaults: Mapping[str, Any]) -> Row:
    """A row whose media state how they are sampled: a batch may mix files with different defaults."""
    messages = [
        {**message, "content": [_stated(entry, defaults) for entry in message["content"]]}
        if isinstance(message.get("content"), list)
        else message
        for message in row.messages
    ]
    return replace(row, messages=messages)


def _stated(entry: Any, defaults: Mapping[str, Any]) -> Any:
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    if kind == "image":
        return {**{name: defaults[name] for name in FOR_PICTURES if name in defaults}, **entry}
    if kind != "video":
        return entry
    rated = any(name in entry for name in RATES)
    return {**{k: v for k, v in defaults.items() if not (rated and k in RATES)}, **entry}
