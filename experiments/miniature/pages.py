"""The docs page from kept results: figures, and tables between marks in the page.

``keep`` puts the small result file of a finished run beside this code; ``regenerate`` makes everything that
the page shows from such files, and says so where there are none. The bytes depend on the results alone. This
module computes no statistics and trains nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.miniature import tables
from experiments.miniature.analysis import analyse
from experiments.miniature.arms import ARMS
from experiments.miniature.config import PRIMARY
from experiments.miniature.figures import draw_all
from experiments.miniature.motion import pages as motion_pages
from experiments.miniature.stages import read_json
from vega3d._utils.files import write_whole
from vega3d.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
RESULTS, DOCS = Path(__file__).parent / "results", ROOT / "docs"
PAGE, FILE = "miniature.md", "results.json"
CONFIGS = ("cpu", "where", "gpu")
MOTION = "motion"
TOY = "quick"
BLOCK = re.compile(r"<!-- results (?P<name>\w+) -->\n(?P<body>.*?)<!-- end -->\n", re.DOTALL)
CAPTIONS = {
    "contrasts": "Paired differences; in red the two that decide.",
    "probes": "What frozen features know of depth.",
    "sweep": "Depth by block and noise level.",
    "gain": "Consistency of features against the gain.",
}


def keep(run: Path, name: str) -> Path:
    """Copy a finished run's results to where ``regenerate`` looks.

    Raises:
        ConfigError: the run is not finished, or its numbers mean nothing.
    """
    results = read_json(run / FILE)
    if name == TOY or results is None:
        raise ConfigError(
            f"The run {name} is not kept.",
            got="a toy's numbers" if name == TOY else f"no {FILE} in {run}",
            expected=f"a finished run of {' or '.join((*CONFIGS, MOTION))}",
            fix=f"make miniature CONFIG={CONFIGS[0]}",
        )
    target = RESULTS / name / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, sort_keys=True) + "\n"
    return write_whole(target, lambda part: part.write_text(text, encoding="utf-8"))


def regenerate(results: Path = RESULTS, docs: Path = DOCS) -> list[Path]:
    """Make every figure and table of the page again; returns the files."""
    written: list[Path] = []
    blocks: dict[str, str] = {}
    for name in CONFIGS:
        known = read_json(results / name / FILE)
        if known is None:
            blocks[name] = f"The `{name}` run has not been made yet.\n"
            continue
        analysis = analyse(known)
        figures = draw_all(docs / "miniature" / name, known, analysis)
        blocks[name] = report(known, analysis, {f.stem: f"miniature/{name}/{f.name}" for f in figures})
        written += figures
    blocks[MOTION] = motion_pages.MISSING
    known = read_json(results / MOTION / FILE)
    if known is not None:
        folder = docs / "miniature" / MOTION
        blocks[MOTION], figures = motion_pages.report(known, folder, f"miniature/{MOTION}")
        written += figures
    page = docs / PAGE
    text = BLOCK.sub(lambda found: _block(found, blocks), page.read_text(encoding="utf-8"))
    return [*written, write_whole(page, lambda part: part.write_text(text, encoding="utf-8"))]


def report(results: Mapping[str, Any], analysis: Mapping[str, Any], figures: Mapping[str, str]) -> str:
    """A run's verdict, tables and figures in Markdown."""
    probes, ames, watch = (results.get(name, {}) for name in ("probes", "ames", "watch"))
    titled = {
        "Scores in points, mean over seeds ± standard error": tables.arms_table(analysis),
        "Paired differences on the held-out rooms": tables.contrasts_table(analysis["contrasts"]),
        "The deciding ones on the other sets": tables.elsewhere_table(analysis["elsewhere"]),
        "By question type, held-out rooms": tables.types_table(
            analysis["types"], analysis["blind"].get(PRIMARY, {}).get("types", {})
        ),
        "Another clip's features at test time": tables.swapped_table(analysis["swapped"]),
        "Ames pairs": tables.ames_table(ames),
        "Frozen features (R² of log depth over what the position says)": tables.probes_table(probes),
        "What the host still answers, before fine-tuning": tables.host_table(results.get("host", {})),
        "The fusion at the end of tuning, first seed (gate 1: only the host)": tables.watch_table(watch),
        "Cost": tables.cost_table(results["cost"]),
    }
    parts = [_listed([*analysis["verdict"], *ames_words(ames)])]
    if analysis["power"]:
        parts += ["What this run could see, with the spreads that it measured:\n", _listed(analysis["power"])]
    for title, table in titled.items():
        parts += [f"**{title}**\n", table] if table else []
    parts += [f"![{CAPTIONS[name]}]({place})\n" for name, place in figures.items()]
    return "\n".join(parts)


def _listed(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def ames_words(ames: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence on swapped features of the twins: the answer flips, or it does not."""
    return [
        f"Ames pairs, {ARMS[arm].title}: the answer "
        + ("never flips" if not found["flipped"] else f"flips in {100 * found['flipped']:.0f} % of the pairs")
        + " when the twins' features are swapped."
        for arm, found in ames.items()
    ]


def _block(found: re.Match[str], blocks: Mapping[str, str]) -> str:
    name = found["name"]
    return f"<!-- results {name} -->\n{blocks.get(name, found['body'])}<!-- end -->\n"
