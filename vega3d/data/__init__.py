"""Annotation files, their conversations, and the media that they name."""

from vega3d.data.annotations import Row, media_rows, read_rows, tried_rows
from vega3d.data.conversations import Allowed, messages_of
from vega3d.data.spar import SparMarks

__all__ = ["Allowed", "Row", "SparMarks", "media_rows", "messages_of", "read_rows", "tried_rows"]
