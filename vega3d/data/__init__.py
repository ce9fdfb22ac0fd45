"""Annotation files, their conversations, and the media that they name."""

from vega3d.data.annotations import (
    LazyRows,
    Reader,
    Row,
    media_rows,
    read_rows,
    row_of,
    tried_rows,
    without_errors,
)
from vega3d.data.conversations import Allowed, messages_of
from vega3d.data.spar import SparMarks

__all__ = [
    "Allowed",
    "LazyRows",
    "Reader",
    "Row",
    "SparMarks",
    "media_rows",
    "messages_of",
    "read_rows",
    "row_of",
    "tried_rows",
    "without_errors",
]
