"""Checksums inside JSON records, so that a damaged record is found before its values are used.

Decision: the sum is taken over values, not over bytes, and stands in the record itself. So a record can be
written on one line or on many, and one that was written without a sum (version 0.1) is still read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vega3d._utils.files import content_digest, write_whole

SUM = "xxh3"  # its name in a record


def summed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record as JSON holds it, with its sum as last value.

    Raises:
        ValueError: a number is not finite.
    """
    values: dict[str, Any] = json.loads(json.dumps(record, allow_nan=False))
    return {**values, SUM: content_digest(values)}


def unsummed(text: bytes) -> dict[str, Any] | None:
    """Values of a written record without their sum; None where they are damaged.

    Args:
        text: JSON. A record without a sum is taken as it is.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict):
        return None
    expected = record.pop(SUM, None)
    return record if expected is None or expected == content_digest(record) else None


def write_text(file: Path, text: str) -> Path:
    """Write text whole or not at all; a lone surrogate as the escape that JSON has for it.

    Raises:
        WriteError: the file cannot be written.
    """
    content = encoded(text)
    return write_whole(file, lambda part: part.write_bytes(content))


def as_json(record: Mapping[str, Any]) -> str:
    """A record with its sum, as the text of its file: strict JSON."""
    return json.dumps(summed(record), indent=1, ensure_ascii=False) + "\n"


def encoded(text: str) -> bytes:
    """UTF-8; of a lone surrogate, which UTF-8 cannot hold, the six characters of its escape."""
    return text.encode(errors="backslashreplace")
