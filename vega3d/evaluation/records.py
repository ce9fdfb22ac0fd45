"""Values of records that a model wrote: any JSON value in, a typed value or "not there" out.

Decision: a scorer sees records that a model wrote, so nothing in a record may stop it. Every field is read by
one of the functions below; what cannot be used becomes an empty value, and `problems` counts it, so that a
wrong file is seen and not scored to zero in silence.

An answer is cut to `MAX_ANSWER` characters. No published protocol lets a model write that much; without a
limit a single runaway answer of many megabytes could hold up a scorer.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Record = Mapping[str, Any]

MAX_ANSWER = 100_000
MAX_ENTRIES = 1_000  # of a list in one record: a scene has at most a few hundred proposals


def mappings(samples: Sequence[object]) -> list[Record]:
    """The samples as records; a sample that is not an object becomes an empty record, so that places stay."""
    return [sample if isinstance(sample, dict) else {} for sample in samples]


def text(record: Record, *names: str) -> str:
    """The first of the named fields that is there, as text; a number is written out; otherwise ``""``."""
    for name in names:
        if is_text(value := record.get(name)):
            try:
                return str(value)[:MAX_ANSWER]
            except ValueError:  # an integer of thousands of digits
                return ""
    return ""


def texts(record: Record, name: str) -> list[str]:
    """The strings of a list field (other entries are left out); a lone string is a list of one."""
    value = record.get(name)
    entries = value[:MAX_ENTRIES] if isinstance(value, list | tuple) else [value]
    return [entry[:MAX_ANSWER] for entry in entries if isinstance(entry, str)]


def number(value: object) -> float | None:
    """A finite float from a number or from text, else None (``nan`` and ``inf`` too)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def add_ids(records: Sequence[Record], rows: Iterable[Record], name: str = "id") -> list[dict[str, Any]]:
    """The rows, each after its record's identifier: text or an integer as it is, anything else None."""
    return [{name: _identity(record.get(name)), **row} for record, row in zip(records, rows, strict=True)]


def _identity(value: object) -> str | int | None:
    if isinstance(value, str):
        return value[:MAX_ANSWER]
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if abs(value) < 2**63 else None


@dataclass(frozen=True)
class Field:
    """A field that a protocol reads, its other names and the test or the reader of its values."""

    name: str
    usable: Callable[[Any], object]  # False or None for a value that is not usable
    meaning: str
    other_names: tuple[str, ...] = ()

    def problem(self, record: Record) -> str | None:
        """``missing`` or ``unusable``, or None when the record is fine."""
        present = [name for name in (self.name, *self.other_names) if name in record]
        if not present:
            return "missing"
        result = self.usable(record[present[0]])
        return "unusable" if result is None or result is False else None


def is_text(value: object) -> bool:
    """Text, or a number that can be written out."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def is_texts(value: object) -> bool:
    """A list of at least one string, nothing else in it."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, str) for v in value)


def is_list(value: object) -> bool:
    """A list of anything, also an empty one."""
    return isinstance(value, list | tuple)


def problems(records: Iterable[object], fields: Sequence[Field]) -> dict[str, int]:
    """Number of records that lack a field or have an unusable value in it, by ``"field: problem"``."""
    counts: Counter[str] = Counter()
    for record in records:
        if not isinstance(record, Mapping):
            counts["record: not an object"] += 1
            continue
        for field in fields:
            if kind := field.problem(record):
                counts[f"{field.name}: {kind}"] += 1
    return dict(sorted(counts.items()))
