"""Scan2Cap on disk, asked by text: the object at a point in the first frame's camera coordinates.

VG-LLM's form: the point is the centre of the best proposal, and whether that proposal is good enough decides
at scoring (`iou`). VEGA-3D's form has a token `<coord>` for the point, which a host without that token cannot
read. Source: VG-LLM (16 frames, 100 new tokens); VEGA-3D (spatial-reasoning) ``process_scan2cap.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vega3d.evaluation.suites.grounded import LICENCE, WHERE, layout, question_type, reader
from vega3d.evaluation.suites.rows import sentence
from vega3d.evaluation.suites.suite import Suite


def prompt(record: Mapping[str, Any]) -> str:
    """The record's own text, which names the point."""
    return str(record["prompt"])


SUITE = Suite(
    name="scan2cap",
    read=reader("scan2cap", question_type, required=(sentence("prompt"),)),
    official=2068,
    value="rouge_l",
    frames=32,
    all_frames=True,
    label="{image}",
    prompt=prompt,
    max_new_tokens=100,
    system="You are a helpful assistant.",
    layout=layout("scan2cap"),
    where=WHERE,
    licence=LICENCE,
    truth="annotations",
)


def gated(scored: Mapping[str, Any]) -> float | None:
    """ROUGE-L of the paper's form at IoU 0.5."""
    found = scored["paper@0.5"]["rouge_l"]
    return None if found is None else float(found)


OTHERS = {"scan2cap/official": replace(SUITE, value=gated)}
