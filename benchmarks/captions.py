"""Scan2Cap at its full size (2,068 objects): our scoring beside pycocoevalcap alone.

Baseline: pycocoevalcap's four scorers on texts that are already gated and wrapped, which is the part that
nobody can leave out. Ours adds reading, gating, wrapping, scores of every sample and the checks of METEOR's
process. The golden captions are repeated, each with a number behind it. In turn, medians of pairs, wall
seconds, since METEOR is a process of its own.

usage: OMP_WAIT_POLICY=PASSIVE python benchmarks/captions.py [--objects 2068] [--pairs 3]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge

from vega3d.evaluation import score
from vega3d.evaluation.benchmarks.scan2cap import GATE, overlap, wrapped

GOLDEN = Path(__file__).parents[1] / "tests" / "goldens" / "metrics" / "scan2cap.json"
NAMES = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr")


def objects(count: int) -> list[dict[str, Any]]:
    """So many records."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))["samples"]
    made = [dict(golden[n % len(golden)]) for n in range(count)]
    for number, record in enumerate(made):
        record["prediction"] = f"{record['prediction']} number {number % 97}".replace("\n", " ")
    return made


def alone(records: list[dict[str, Any]]) -> dict[str, float]:
    """pycocoevalcap, corpus scores in percent."""
    texts = [r["prediction"].strip() if overlap(r) >= GATE else "" for r in records]
    candidates = {n: [wrapped(text)] for n, text in enumerate(texts)}
    references = {n: [wrapped(one) for one in r["annotations"]] for n, r in enumerate(records)}
    found = {"BLEU-4": Bleu(4).compute_score(references, candidates, verbose=0)[0][3]}
    for name, scorer in (("METEOR", Meteor()), ("ROUGE-L", Rouge()), ("CIDEr", Cider())):
        found[name] = scorer.compute_score(references, candidates)[0]
    return {name: 100 * value for name, value in found.items()}


def ours(records: list[dict[str, Any]]) -> dict[str, float]:
    """`scan2cap/vega`."""
    aggregates = score("scan2cap/vega", records)["aggregate_percent"]
    return {name: aggregates[name] for name in NAMES}


def main() -> None:
    """Print both times, their ratio and the largest difference of the scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--objects", type=int, default=2068)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    records, seconds = objects(options.objects), []
    for _ in range(options.pairs):
        times, found = [], []
        for way in (alone, ours):
            start = time.perf_counter()
            found.append(way(records))
            times.append(time.perf_counter() - start)
        seconds.append(times)
    if absent := [name for name in NAMES if found[1][name] is None]:
        raise SystemExit(
            f"not measured: {', '.join(absent)} cannot be computed here (no Java, or too slow a start)"
        )
    difference = max(abs(found[0][name] - found[1][name]) for name in NAMES)
    first, second = (statistics.median(column) for column in zip(*seconds, strict=True))
    ratio = statistics.median(b / a for a, b in seconds)
    print("| objects | pycocoevalcap alone, s | scan2cap/vega, s | ratio | largest difference, points |")
    print("|---|---|---|---|---|")
    print(f"| {options.objects} | {first:.1f} | {second:.1f} | **{ratio:.2f}** | {difference:.1e} |")


if __name__ == "__main__":
    main()
