"""What of a benchmark lies on this disk, what is missing, and where a person gets it under which licence.

Nothing is downloaded. Clips are looked for and not decoded: a broken one shows in a run as an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vega3d.errors import Vega3DError
from vega3d.evaluation.suites import load_suite
from vega3d.evaluation.suites.media import missing


def check(benchmark: str, root: Path, *, follow_links: bool = False) -> dict[str, Any]:
    """The state of a benchmark's folder, JSON-ready.

    Args:
        benchmark: first part of a task's name.
        root: the folder.
        follow_links: follow links that lead out of the folder.

    Raises:
        ConfigError: no such benchmark can be run.
    """
    suite = load_suite(benchmark)
    try:
        questions, problem = suite.read(root, follow_links=follow_links), None
    except Vega3DError as error:
        questions, problem = [], error.what
    clips = list(dict.fromkeys(question.media for question in questions))
    gone = [clip for clip in clips if missing(clip)]
    places = [os.path.relpath(place, root) for clip in gone for place in missing(clip)]
    return {
        "benchmark": suite.name,
        "folder": str(root),
        "problem": problem,
        "questions": len(questions),
        "official": suite.official,
        "clips": len(clips) - len(gone),
        "missing_clips": places,
        "layout": suite.layout,
        "where": suite.where,
        "licence": suite.licence,
        "ready": bool(questions) and not gone,
    }
