"""Write the trained pico host, ask it about rooms it has never seen through real mp4 files, write its card.

    python train/pico_eval.py --run RUN --cache CACHE [--scenes 60] [--out vega3d/pico/host]

Decision: this is the path of a user (mp4, PyAV, stock processor, stock `generate`), not the fast path of
training; what the card states is measured here. Scenes are of the split "test", which training never drew.
"""

from __future__ import annotations

import vega3d._torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from safetensors.torch import load_file
from transformers import AutoProcessor, GenerationConfig, Qwen2_5_VLForConditionalGeneration

from pico_data import FRAMES_SEEN, Cache
from pico_model import build_config
from pico_score import CHANCE, NUMERIC, Blind, score, summary
from vega3d.rooms import make_questions, make_room, plain_questions, render, rooms_tag, scene_seed, write_mp4

DIRECTIONS = ("object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard")
VSI_TASKS = (
    "object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation",
    "object_rel_distance", "object_rel_direction", "obj_appearance_order",
)  # fmt: skip
Row = tuple[str, str, str]


def write_host(run: Path, out: Path) -> Any:
    """The averaged weights of a run as a stock folder: bf16, shards of at most 4 MB, processor beside it."""
    processor = AutoProcessor.from_pretrained(run / "processor")
    model = Qwen2_5_VLForConditionalGeneration(build_config(processor.tokenizer))
    tensors = load_file(str(run / "checkpoint.safetensors"))
    own = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
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
    return model.num_parameters()


def read_frames(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Eight frames (8, H, W, 3), evenly from first to last, and their video metadata."""
    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    chosen = np.linspace(0, len(frames) - 1, FRAMES_SEEN).round().astype(int)
    metadata = {"fps": fps, "total_num_frames": len(frames), "frames_indices": chosen.tolist()}
    return np.stack([frames[i] for i in chosen]), metadata


def held_out(index: int, folder: Path) -> tuple[Path, list[Row]]:
    """The mp4 of one test scene and its questions (type, prompt, answer)."""
    room = make_room(scene_seed("test", 0, index), version=1)
    clip = render(room)
    path = folder / f"{room.name}.mp4"
    write_mp4(path, clip.rgb, clip.fps, comment=rooms_tag(room.seed, room.version))
    rows = [(q.question_type, q.prompt(), q.ground_truth) for q in make_questions(room, clip)]
    plain = plain_questions(room, clip, per_family=1)
    return path, rows + [(q.family, q.question, q.answer) for q in plain if q.family != "list"]


@torch.no_grad()
def answer(model: Any, processor: Any, path: Path, prompts: list[str]) -> list[str]:
    """Greedy answers of the stock model to several prompts about one file, as one padded batch."""
    frames, metadata = read_frames(path)
    texts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": prompt}]}],
            add_generation_prompt=True,
            tokenize=False,
        )
        for prompt in prompts
    ]
    inputs = processor(
        text=texts, videos=[list(frames)] * len(texts), video_metadata=[metadata] * len(texts),
        do_sample_frames=False, cap_pixels_per_frame=False, padding=True, padding_side="left",
        return_tensors="pt",
    )  # fmt: skip
    tokens = model.generate(**inputs, max_new_tokens=24)
    return processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def ask_all(folder: Path, scenes: int, dtype: torch.dtype) -> Iterator[tuple[str, str, str, str]]:
    """(type, prompt, truth, answer) over the test scenes, by the model in ``folder``."""
    processor = AutoProcessor.from_pretrained(folder)
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(scenes):
            path, rows = held_out(index, Path(scratch))
            said = answer(model, processor, path, [prompt for _, prompt, _ in rows])
            for (kind, prompt, truth), text in zip(rows, said, strict=True):
                yield kind, prompt, truth, text.strip()
            path.unlink()


def measure(folder: Path, scenes: int, blind: Blind) -> dict[str, Any]:
    """Scores per type beside chance and frequency, and the overall means in VSI-Bench's way."""
    mine: dict[str, list[float]] = defaultdict(list)
    guess: dict[str, list[float]] = defaultdict(list)
    for kind, prompt, truth, text in ask_all(folder, scenes, torch.float32):
        mine[kind].append(score(kind, text, truth))
        guess[kind].append(score(kind, blind.answer(kind, prompt), truth))
    frequency = summary(guess)
    types = {
        kind: {**row, "chance": CHANCE.get(kind), "frequency": frequency[kind]["score"]}
        for kind, row in summary(mine).items()
    }
    for row in types.values():
        row["above_blind"] = row["score"] - max(row["frequency"], row["chance"] or 0.0) > 2 * row["se"]
    overall = {
        "model": mean_of_tasks({k: v["score"] for k, v in types.items()}),
        "se": error_of_tasks({k: v["se"] for k, v in types.items()}),
        "frequency": mean_of_tasks({k: v["frequency"] for k, v in types.items()}),
        "chance_of_multiple_choice": np.mean([1 / 4, np.mean([1 / 2, 1 / 3, 1 / 4]), 1 / 4]).item(),
    }
    return {
        "questions": sum(v["n"] for v in types.values()),
        "scenes": scenes,
        "overall_vsi": overall,
        "types": types,
    }


def mean_of_tasks(scores: dict[str, float]) -> float:
    """VSI-Bench's overall over the seven tasks that world 1 has (no route planning)."""
    merged = dict(scores)
    merged["object_rel_direction"] = sum(scores[d] for d in DIRECTIONS) / 3
    return sum(merged[task] for task in VSI_TASKS) / len(VSI_TASKS)


def error_of_tasks(errors: dict[str, float]) -> float:
    """Standard error of ``mean_of_tasks``, types taken as independent."""
    merged = dict(errors)
    merged["object_rel_direction"] = sum(errors[d] ** 2 for d in DIRECTIONS) ** 0.5 / 3
    return sum(merged[task] ** 2 for task in VSI_TASKS) ** 0.5 / len(VSI_TASKS)


def table(types: dict[str, dict[str, Any]]) -> str:
    """Markdown rows, benchmark types first."""
    order = [k for k in types if "_" in k] + [k for k in types if "_" not in k]
    lines = ["| type | score | frequency | chance | n |", "|---|---|---|---|---|"]
    for kind in order:
        row = types[kind]
        name = f"{kind} (MRA)" if kind in NUMERIC else kind
        chance = "" if row["chance"] is None else f"{100 * row['chance']:.0f}"
        mark = "**" if row["above_blind"] else ""
        text = f"{mark}{100 * row['score']:.1f}{mark} ± {100 * row['se']:.1f}"
        lines.append(f"| {name} | {text} | {100 * row['frequency']:.1f} | {chance} | {row['n']} |")
    return "\n".join(lines)


CARD = """---
license: apache-2.0
library_name: transformers
tags: [vega3d, pico, rooms]
---
# pico host: a tiny Qwen2.5-VL that knows rooms and nothing else

A real `Qwen2_5_VLForConditionalGeneration` ({parameters:,} parameters, bf16) with its own tokenizer of
{vocabulary} tokens. It was trained from nothing on questions about videos of `vega3d.rooms`, without any
generative branch, so that vega3d can be tried and tested on a laptop. It knows no real videos.

## What it reaches

{questions} questions about {scenes} rooms that training never saw, through mp4 files, the stock processor and
greedy `generate`. Scores in percent ± one standard error; MRA is VSI-Bench's mean relative accuracy.
*frequency* is the best constant answer that the training questions know (per question text where it is
frequent, else per type): it sees no video. **Bold**: above frequency *and* chance by more than two standard
errors.

{table}

Overall in VSI-Bench's way (seven tasks; world 1 has no route planning): **{model:.1f} ± {se:.1f}**,
frequency {frequency:.1f}.

## What it does not reach

{weak}

## Training

{recipe}{notes}

Files: `train/pico_data.py` (rooms), `train/pico_host.py` (training), `train/pico_eval.py` (this page);
figures also in `results.json`.
"""


RECIPE = """\
{step:,} steps in {minutes:.0f} minutes on one CPU thread (bf16 autocast; Muon and AdamW, peak learning
rate {lr}, cosine by the clock, moving average of the weights), {batch} clips a step with about
{questions} questions each, from {rooms:,} rooms (split `train`, run seed 0), eight of 48 frames at 140x140.
A helper loss on visual tokens (what is there, how far, where) was used and its heads thrown away.
Seed {seed}."""


def weak_overall(overall: dict[str, float]) -> str:
    """Whether the overall figure is above blind guessing, said plainly."""
    if overall["model"] - overall["frequency"] > 2 * overall["se"]:
        return "The overall figure is above the frequency baseline by more than two standard errors."
    return "The overall figure is **not** above the frequency baseline by two standard errors."


def weak_points(types: dict[str, dict[str, Any]]) -> str:
    """The types that are not above the blind baseline, said plainly."""
    names = [kind for kind, row in types.items() if not row["above_blind"]]
    if not names:
        return "Every type is above the blind baseline; none is near what the renderer knows."
    return (
        "Not above blind guessing by two standard errors: " + ", ".join(names) + ".\n"
        "Answers of these types must not be trusted. What more training would bring was not measured."
    )


def write_card(out: Path, vocabulary: int) -> str:
    """The model card, from results.json alone (so that both say the same)."""
    results = json.loads((out / "results.json").read_text())
    training = results["training"]
    recipe = RECIPE.format(**{**training, "minutes": training["seconds"] / 60})
    overall = {k: 100 * v for k, v in results["overall_vsi"].items()}
    notes = f"\n{results['notes']}" if results["notes"] else ""
    card = CARD.format(
        parameters=results["parameters"], vocabulary=vocabulary, questions=results["questions"],
        scenes=results["scenes"], table=table(results["types"]),
        weak=weak_overall(results["overall_vsi"]) + "\n" + weak_points(results["types"]), recipe=recipe,
        notes=notes, **overall,
    )  # fmt: skip
    (out / "README.md").write_text(card)
    return card


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True, help="for the blind baseline")
    parser.add_argument("--capacity", type=int, default=7000)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--notes", default="")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "vega3d/pico/host")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    parameters = write_host(args.run, args.out)
    cache = Cache(args.cache, "train", args.capacity)
    seen = cache.refresh()
    rows: list[Row] = []
    for facts in cache.lines[:3000]:
        rows += [(q["type"], q["prompt"], q["answer"]) for q in facts["vsi"]]
        rows += [(q["family"], q["question"], q["answer"]) for q in facts["plain"]]
    results = measure(args.out, args.scenes, Blind(rows))
    done = json.loads((args.run / "done.json").read_text())
    vocabulary = len(AutoProcessor.from_pretrained(args.out).tokenizer)
    results |= {"parameters": parameters, "training": {**done, "rooms": seen}, "notes": args.notes}
    (args.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    print(write_card(args.out, vocabulary))


if __name__ == "__main__":
    main()
