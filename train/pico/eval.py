"""Write the trained pico host, ask it about rooms it has never seen, write its card.

    python -m train.pico.eval --run RUN --cache CACHE --videos FOLDER [--out vega3d/pico/host]

Decision: beside every score stand three ways to answer without looking: chance, the best constant answer
that training knew (of this very question text where it was frequent), and a text-only model on n-grams,
which is the benchmark's own (benchmarks/rooms_blind.py). The best of the three is what "blind" means here.
Families that the host never saw are judged against the same models, fitted on other test rooms.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, GenerationConfig, Qwen2_5_VLForConditionalGeneration

from benchmarks import rooms_blind
from train.pico.ask import Said, ask_all, rooms_of, video_of
from train.pico.card import write_card
from train.pico.data import Cache, Row
from train.pico.model import build_config
from train.pico.score import CHANCE, NUMERIC, Blind, score
from vega3d.rooms.held_out import family_is_held_out

FOLDS = 5
FITTED = 3000  # questions of a family that the text-only model is fitted on
DIRECTIONS = ("object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard")


def write_host(run: Path, out: Path) -> int:
    """The averaged weights of a run as a stock folder: bf16, shards of at most 4 MB, processor beside it."""
    processor = AutoProcessor.from_pretrained(run / "processor")
    model = Qwen2_5_VLForConditionalGeneration(build_config(processor.tokenizer))
    tensors = load_file(str(run / "checkpoint.safetensors"))
    start = "average.model."
    own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    missing = model.load_state_dict(own, strict=False)
    assert not missing.unexpected_keys
    assert set(missing.missing_keys) <= {"lm_head.weight"}  # tied to the embedding
    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=64, eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    for old in [*out.glob("*.safetensors"), *out.glob("*.index.json")]:
        old.unlink()
    model.to(torch.bfloat16).save_pretrained(out, max_shard_size="4MB")
    processor.save_pretrained(out)
    for file in out.iterdir():
        file.chmod(0o644)
    return int(model.num_parameters())


def blind_row(scene: int, kind: str, prompt: str, truth: str) -> rooms_blind.Row:
    """A question as the blind models read it: options apart from the text."""
    text, _, rest = prompt.partition("\nOptions:\n")
    options = tuple(rest.split("\n")[:-1]) if rest else None
    return scene, kind, text, options, truth


def text_only(kind: str, train: list[rooms_blind.Row], test: list[rooms_blind.Row]) -> np.ndarray:
    """Scores (N,) of the n-gram model on ``test``."""
    judge = rooms_blind.by_number if kind in NUMERIC else rooms_blind.by_answer
    if test[0][3] is not None:
        judge = rooms_blind.by_choice
    return np.asarray(judge(train, test)[1], float)


def touching(kind: str, truth: str) -> bool:
    """A distance of nothing: its relative error has no meaning, so it is not counted."""
    return kind in NUMERIC and float(truth) == 0


class Baselines:
    """The blind answers of one set of known questions."""

    def __init__(self, rows: list[Row]) -> None:
        self.frequency = Blind(rows)
        self.known: dict[str, list[rooms_blind.Row]] = defaultdict(list)
        for kind, prompt, truth in rows:
            if not touching(kind, truth) and len(self.known[kind]) < FITTED:
                self.known[kind].append(blind_row(0, kind, prompt, truth))

    def judge(self, kind: str, said: list[Said]) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N,) of frequency and text-only on the questions of one family."""
        constant = [
            score(kind, self.frequency.answer(kind, prompt), truth) for _, _, prompt, truth, _ in said
        ]
        test = [blind_row(scene, k, prompt, truth) for scene, k, prompt, truth, _ in said]
        return np.array(constant), text_only(kind, self.known[kind], test)


def folded(kind: str, said: list[Said]) -> tuple[np.ndarray, np.ndarray]:
    """The same for a family that training never asked: fitted on the other folds of the test rooms."""
    fold = {scene: i % FOLDS for i, scene in enumerate(sorted({s[0] for s in said}))}
    constant, text = np.zeros(len(said)), np.zeros(len(said))
    for k in range(FOLDS):
        here = np.array([fold[s[0]] == k for s in said])
        rest = [(s[1], s[2], s[3]) for s, out in zip(said, here, strict=True) if not out]
        inside = [s for s, out in zip(said, here, strict=True) if out]
        if inside:
            constant[here], text[here] = Baselines(rest).judge(kind, inside)
    return constant, text


def measure(said: list[Said], baselines: Baselines | None) -> dict[str, dict[str, Any]]:
    """Per family: score, standard error, the three blind figures, whether it is above them."""
    groups: dict[str, list[Said]] = defaultdict(list)
    for row in said:
        if touching(row[1], row[3]):
            continue
        groups[row[1]].append(row)
    return {kind: family(kind, groups[kind], baselines) for kind in sorted(groups)}


def family(kind: str, said: list[Said], baselines: Baselines | None) -> dict[str, Any]:
    """One row of a table."""
    mine = np.array([score(kind, text, truth) for _, _, _, truth, text in said])
    frequency, text = folded(kind, said) if baselines is None else baselines.judge(kind, said)
    chance = CHANCE.get(kind)
    blind = max(frequency.mean(), text.mean(), chance or 0.0)
    error = mine.std(ddof=1) / np.sqrt(len(mine))
    return {
        "score": float(mine.mean()), "se": float(error), "n": len(mine), "frequency": float(frequency.mean()),
        "text": float(text.mean()), "chance": chance, "blind": float(blind),
        "above_blind": bool(mine.mean() - blind > 2 * error),
    }  # fmt: skip


def overall(types: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Means over families, the three directions counting as one; families taken as independent."""
    rows = dict(types)
    parts = [rows.pop(name) for name in DIRECTIONS if name in rows]
    tasks = [(r["score"], r["se"] ** 2, r["blind"]) for r in rows.values()]
    if parts:
        means = [float(np.mean([p[key] for p in parts])) for key in ("score", "blind")]
        tasks.append((means[0], sum(p["se"] ** 2 for p in parts) / len(parts) ** 2, means[1]))
    score_, variance, blind = (np.array(column) for column in zip(*tasks, strict=True))
    return {
        "model": float(score_.mean()),
        "se": float(variance.sum() ** 0.5 / len(tasks)),
        "blind": float(blind.mean()),
    }


def evaluate(host: Path, videos: Path, cache: Cache, rooms: int, styled: int) -> dict[str, Any]:
    """All tables: familiar rooms, rooms of held-out styles, held-out families."""
    known = [tuple(q) for facts in cache.lines[:3000] for q in facts["asked"]]
    baselines = Baselines(known)
    said = list(ask_all(host, rooms_of(0, rooms, held_out_style=False), videos))
    asked = measure([s for s in said if not family_is_held_out(s[1])], baselines)
    never = measure([s for s in said if family_is_held_out(s[1])], None)
    strange = list(ask_all(host, rooms_of(0, styled, held_out_style=True), videos))
    styles = measure([s for s in strange if not family_is_held_out(s[1])], baselines)
    vsi = {kind: row for kind, row in asked.items() if "_" in kind}
    return {
        "rooms": rooms, "styled_rooms": styled, "questions": sum(r["n"] for r in asked.values()),
        "overall": overall(asked), "overall_vsi": overall(vsi), "types": asked,
        "overall_styles": overall(styles), "styles": styles, "held_out_families": never,
    }  # fmt: skip


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="not needed with --only-videos")
    parser.add_argument("--cache", type=Path, required=True, help="for the blind baseline")
    parser.add_argument("--capacity", type=int, default=6000)
    parser.add_argument("--videos", type=Path, required=True, help="where test rooms are written; kept")
    parser.add_argument("--rooms", type=int, default=70)
    parser.add_argument("--styled", type=int, default=30, help="rooms of held-out styles")
    parser.add_argument("--notes", default="")
    parser.add_argument("--only-videos", action="store_true", help="render the test rooms, ask nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "vega3d/pico/host")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.videos.mkdir(parents=True, exist_ok=True)
    if args.only_videos:
        for seed in rooms_of(0, args.rooms, False) + rooms_of(0, args.styled, True):
            video_of(seed, args.videos)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    parameters = write_host(args.run, args.out)
    cache = Cache(args.cache, "train", args.capacity)
    seen = cache.refresh()
    results = evaluate(args.out, args.videos, cache, args.rooms, args.styled)
    done = json.loads((args.run / "done.json").read_text())
    results |= {"parameters": parameters, "training": {**done, "rooms": seen}, "notes": args.notes}
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(write_card(args.out, len(AutoProcessor.from_pretrained(args.out).tokenizer)))


if __name__ == "__main__":
    main()
