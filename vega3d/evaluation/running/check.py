"""What of a benchmark lies on this disk, what is missing, and where a person gets it under which licence.

Nothing is downloaded. Clips are looked for and not decoded: a broken one shows in a run as an error.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vega3d.errors import Vega3DError
from vega3d.evaluation.suites import load_suite


def check(benchmark: str, root: Path) -> dict[str, Any]:
    """The state of a benchmark's folder, JSON-ready.

    Raises:
        ConfigError: no such benchmark can be run.
    """
    suite = load_suite(benchmark)
    try:
        questions, problem = suite.read(root), None
    except Vega3DError as error:
        questions, problem = [], error.what
    clips = list(dict.fromkeys(question.media for question in questions))
    missing = [str(clip.relative_to(root)) for clip in clips if not clip.exists()]
    return {
        "benchmark": suite.name,
        "folder": str(root),
        "problem": problem,
        "questions": len(questions),
        "official": suite.official,
        "clips": len(clips) - len(missing),
        "missing_clips": missing,
        "layout": suite.layout,
        "where": suite.where,
        "licence": suite.licence,
        "ready": bool(questions) and not missing,
    }
