"""State of a benchmark's folder: present and missing files, their source and their license.

Nothing is downloaded. Clips are not decoded: a broken one shows in a run as an error.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vega3d.errors import Vega3DError
from vega3d.evaluation.benchmark import score_only
from vega3d.evaluation.benchmarks import load_benchmark
from vega3d.evaluation.files import Folder
from vega3d.evaluation.media import missing


def check(name: str, root: Path, *, follow_links: bool = False) -> dict[str, Any]:
    """The state of a benchmark's folder, JSON-ready.

    Args:
        name: of a benchmark, or of one of its protocols.
        root: the folder.
        follow_links: follow links that lead out of the folder.

    Raises:
        ConfigError: unknown name, or a benchmark that only scores files.
    """
    benchmark = load_benchmark(name.partition("/")[0])
    if benchmark.read is None:
        raise score_only(name, "it has no reader of samples")
    try:
        samples, problem = benchmark.read(Folder(root, benchmark.name, follow_links)), None
    except Vega3DError as error:
        samples, problem = [], error.what
    clips = list(dict.fromkeys(sample.media for sample in samples))
    gone = {clip: places for clip in clips if (places := missing(clip))}
    return {
        "benchmark": benchmark.name,
        "folder": str(root),
        "problem": problem,
        "questions": len(samples),
        "official": benchmark.official,
        "clips": len(clips) - len(gone),
        "missing_clips": [os.path.relpath(place, root) for places in gone.values() for place in places],
        "layout": benchmark.layout,
        "where": benchmark.source,
        "licence": benchmark.license,
        "ready": bool(samples) and not gone,
    }
