"""VG-LLM's 3-D detection on disk: a few frames, all boxes in the first one's camera coordinates, as JSON.

The mean over questions is a question's own F1, so that its error can be taken over scenes; the published
numbers are F1 of summed counts by category, as `threedod` computes them. Source: VG-LLM (`scannet_4frames`,
`scannet_6frames`, 2,000 new tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vega3d.evaluation.suites.grounded import LICENCE, WHERE, layout, reader
from vega3d.evaluation.suites.rows import sentence
from vega3d.evaluation.suites.suite import Suite


def prompt(record: Mapping[str, Any]) -> str:
    """The record's own text, or VG-LLM's."""
    return str(record.get("prompt") or TEXT)


def f1(scored: Mapping[str, Any]) -> float | None:
    """F1 of one answer over all categories; None where there was nothing and nothing was said."""
    counts = list(scored["counts"].values())
    tp, fp, fn = (sum(count[name] for count in counts) for name in ("tp", "fp", "fn"))
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else None


TEXT = (
    "Detect the 3D bounding boxes in the camera coordinate system of the first frame.\n"
    'Output a json list where each entry contains the object name in "label" and its 3D bounding box in '
    '"bbox_3d".\nThe 3D bounding box format should be [x_center, y_center, z_center, x_size, y_size, z_size, '
    "yaw, roll, pitch]."
)
SUITE = Suite(
    name="threedod",
    read=reader("threedod", lambda row: f"{len(row['images'])} frames", optional=(sentence("prompt"),)),
    official=None,
    value=f1,
    frames=32,
    all_frames=True,
    label="{image}\n",
    prompt=prompt,
    max_new_tokens=2000,
    system="You are a helpful assistant.",
    layout=layout("threedod"),
    where=WHERE,
    licence=LICENCE,
    truth="boxes",
)
