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

import numpy as np
from numpy.typing import NDArray

Record = Mapping[str, Any]
Array = NDArray[np.float64]

MAX_ANSWER = 100_000
MAX_ENTRIES = 1_000  # of a list in one record: a scene has at most a few hundred proposals


def mappings(samples: Sequence[object]) -> list[Record]:
    """The samples as records; a sample that is not an object becomes an empty record, so that places stay."""
    return [sample if isinstance(sample, dict) else {} for sample in samples]


def text(record: Record, *names: str) -> str:
    """The first of the named fields that is there, as text; a number is written out; otherwise ``""``."""
    for name in names:
        value = record.get(name)
        if isinstance(value, str):
            return value[:MAX_ANSWER]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return _written(value)
    return ""


def texts(record: Record, name: str) -> list[str]:
    """The strings of a list field (other entries are left out); a lone string is a list of one."""
    value = record.get(name)
    if isinstance(value, str):
        return [value[:MAX_ANSWER]]
    if not isinstance(value, list | tuple):
        return []
    return [entry[:MAX_ANSWER] for entry in value[:MAX_ENTRIES] if isinstance(entry, str)]


def number(value: object) -> float | None:
    """A finite float from a number or from text, else None (``nan`` and ``inf`` too)."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        result = float(value)
    except (ValueError, OverflowError):
        return None
    return result if math.isfinite(result) else None


def identity(record: Record, name: str) -> str | int | None:
    """Identifier of a record: text or an integer as it is, anything else None."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return value[:MAX_ANSWER] if isinstance(value, str) else (value if abs(value) < 2**63 else None)


def box(value: object, length: int) -> Array | None:
    """A box as (length,) float64, or None: not a list, of another length, or not all finite numbers."""
    if not isinstance(value, list | tuple) or len(value) != length:
        return None
    if any(isinstance(entry, bool) or not isinstance(entry, int | float) for entry in value):
        return None
    try:
        row = np.array(value, dtype=np.float64)
    except OverflowError:
        return None
    return row if bool(np.isfinite(row).all()) else None


def boxes(value: object, length: int) -> Array | None:
    """Boxes as (n, length) float64, n may be 0; None when it is not a list or one of them is not a box."""
    if not isinstance(value, list | tuple) or len(value) > MAX_ENTRIES:
        return None
    rows = [box(entry, length) for entry in value]
    usable = [row for row in rows if row is not None]
    if len(usable) != len(rows):
        return None
    return np.stack(usable) if usable else np.zeros((0, length))


def matrix(value: object) -> Array | None:
    """A (4, 4) float64 matrix, or None."""
    rows = boxes(value, 4)
    return rows if rows is not None and len(rows) == 4 else None


@dataclass(frozen=True)
class Field:
    """A field that a protocol reads, its other names and the test of its values."""

    name: str
    usable: Callable[[Any], bool]
    meaning: str
    other_names: tuple[str, ...] = ()

    def problem(self, record: Record) -> str | None:
        """``missing`` or ``unusable``, or None when the record is fine."""
        present = [name for name in (self.name, *self.other_names) if name in record]
        if not present:
            return "missing"
        return None if self.usable(record[present[0]]) else "unusable"


def is_text(value: object) -> bool:
    """Text, or a number that can be written out."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """A finite number, or text that reads as one."""
    return number(value) is not None


def is_text_list(value: object) -> bool:
    """A list of at least one string, nothing else in it."""
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(v, str) for v in value)


def is_list(value: object) -> bool:
    """A list of anything, also an empty one."""
    return isinstance(value, list | tuple)


def is_box(length: int) -> Callable[[Any], bool]:
    """Test for a list of so many finite numbers."""
    return lambda value: box(value, length) is not None


def is_boxes(length: int) -> Callable[[Any], bool]:
    """Test for a list of such boxes, also an empty one."""
    return lambda value: boxes(value, length) is not None


def problems(records: Iterable[object], fields: Sequence[Field]) -> dict[str, int]:
    """Number of records that lack a field or have an unusable value in it, by ``"field: problem"``."""
    counts: Counter[str] = Counter()
    for record in records:
        if not isinstance(record, Mapping):
            counts["record: not an object"] += 1
            continue
        for field in fields:
            kind = field.problem(record)
            if kind:
                counts[f"{field.name}: {kind}"] += 1
    return dict(sorted(counts.items()))


def _written(value: float) -> str:
    try:
        return str(value)
    except ValueError:  # an integer of thousands of digits
        return ""
