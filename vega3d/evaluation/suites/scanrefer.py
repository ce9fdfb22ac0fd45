"""ScanRefer on disk, asked by text: VG-LLM's frames with their numbers, and a box as JSON.

Picking a proposal (`scanrefer/proposal`) needs a head that scores proposals; a model that writes text cannot
be run on it. Source: VG-LLM (24 frames for ScanRefer, `Frame-0: <image>`, 100 new tokens).
"""

from __future__ import annotations

from vega3d.evaluation.suites.grounded import LICENCE, WHERE, layout, question_type, reader
from vega3d.evaluation.suites.rows import sentence
from vega3d.evaluation.suites.suite import Suite

SUITE = Suite(
    name="scanrefer",
    read=reader("scanrefer", question_type, required=(sentence("prompt", "description"),)),
    official=9508,
    value="iou25",
    frames=32,
    all_frames=True,
    label="Frame-{n}: {image}",
    max_new_tokens=100,
    system="You are a helpful assistant.",
    layout=layout("scanrefer"),
    where=WHERE,
    licence=LICENCE,
    truth="gt_bbox",
)
