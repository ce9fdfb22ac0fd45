"""The pico host's model card, from results.json alone (so that both say the same).

python -m train.pico.card vega3d/pico/host
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from train.pico.score import NUMERIC
from vega3d.rooms.held_out import HELD_OUT_FAMILIES, HELD_OUT_FLOOR, HELD_OUT_WALLS

Types = dict[str, dict[str, Any]]

CARD = """---
license: apache-2.0
library_name: transformers
tags: [vega3d, pico, rooms]
---
# pico host: a tiny Qwen2.5-VL trained on rooms only

A real `Qwen2_5_VLForConditionalGeneration` ({parameters:,} parameters, bf16) with its own tokenizer of
{vocabulary} tokens. It was trained from nothing on questions about videos of `vega3d.rooms` (world 2),
without any generative branch, so that vega3d can be tried and tested on a laptop. It was trained on
no real video.

## What it reaches

{questions} questions about {rooms} rooms that training never saw, through mp4 files, the stock processor and
greedy `generate`. Scores in percent ± one standard error; MRA is VSI-Bench's mean relative accuracy. Three
answers without any video stand beside it: *text only* is a model on word n-grams, *frequency* the best
constant answer of the training questions (per question text where it is frequent, else per type),
*chance* one in the number of options. **Bold**: above all three by more than two standard errors.

{table}

Mean over these families (three directions count as one): **{model:.1f} ± {se:.1f}**, the best blind answer
{blind:.1f}. VSI-Bench's types alone: **{vsi_model:.1f} ± {vsi_se:.1f}**, blind {vsi_blind:.1f}.

## What it does not reach

{weak}

## What was held out

`vega3d/rooms/held_out.py` lists what this host was not trained on, for fine-tuning runs.

Styles: rooms with a {floor} floor or a wallpaper of {walls}. {styled_rooms} such rooms, the same families:
**{styles_model:.1f} ± {styles_se:.1f}**, blind {styles_blind:.1f}.

Families: {families}.
Asked without any training, on the rooms of the first table (here the blind models are fitted on other test
rooms):

{never}

## Training

{recipe}{notes}

Files: `train/pico/data.py` (rooms), `train/pico/sampler.py` (order of the questions), `train/pico/host.py`
(training), `train/pico/eval.py` (this page); figures also in `results.json`.
"""

RECIPE = """\
{step:,} steps in {minutes:.0f} minutes on one thread of a shared, busy CPU (bf16 autocast; Muon and AdamW,
peak learning rate {lr}, cosine by the clock, moving average of the weights), {batch} clips a step with
{questions} questions each and the list of what is in the room, from {rooms:,} rooms (split `train`, run
seed 0), eight of 48 frames at 140x140, half of the clips mirrored. An auxiliary
loss on visual tokens (what is there, how far, where) was used, alone in the first {looking:.0%} of the time,
and its heads thrown away. Measures were answered coarsely (distances in powers of the root of two,
sizes in tens of centimetres).
Seed {seed}."""


def table(types: Types) -> str:
    """Markdown rows, benchmark types first."""
    order = [k for k in types if "_" in k] + [k for k in types if "_" not in k]
    lines = ["| family | score | text only | frequency | chance | n |", "|---|---|---|---|---|---|"]
    for kind in order:
        row = types[kind]
        name = f"{kind} (MRA)" if kind in NUMERIC else kind
        chance = "" if row["chance"] is None else f"{100 * row['chance']:.0f}"
        mark = "**" if row["above_blind"] else ""
        text = f"{mark}{100 * row['score']:.1f}{mark} ± {100 * row['se']:.1f}"
        blind = f"{100 * row['text']:.1f} | {100 * row['frequency']:.1f} | {chance}"
        lines.append(f"| {name} | {text} | {blind} | {row['n']} |")
    return "\n".join(lines)


def weak(results: dict[str, Any]) -> str:
    """A plain list of what is not above blind guessing."""
    lines = []
    for key, name in (
        ("overall", "over all these families"),
        ("overall_vsi", "over VSI-Bench's types alone"),
    ):
        mean = results[key]
        above = mean["model"] - mean["blind"] > 2 * mean["se"]
        lines.append(f"The mean {name} is {'' if above else '**not** '}above blind by two standard errors.")
    names = [kind for kind, row in results["types"].items() if not row["above_blind"]]
    if names:
        lines.append("Families that are not: " + ", ".join(names) + ". Their answers must not be trusted.")
    lines.append("What longer training would bring was not measured.")
    return "\n".join(lines)


def percent(mean: dict[str, float], prefix: str = "") -> dict[str, float]:
    """The means of one table for the card."""
    return {f"{prefix}{key}": 100 * value for key, value in mean.items()}


def write_card(out: Path, vocabulary: int) -> str:
    """Write README.md beside results.json."""
    results = json.loads((out / "results.json").read_text())
    training = results["training"]
    card = CARD.format(
        parameters=results["parameters"], vocabulary=vocabulary, questions=results["questions"],
        rooms=results["rooms"], styled_rooms=results["styled_rooms"], table=table(results["types"]),
        never=table(results["held_out_families"]), families=", ".join(HELD_OUT_FAMILIES),
        floor=HELD_OUT_FLOOR, walls=HELD_OUT_WALLS, weak=weak(results),
        recipe=RECIPE.format(**{**training, "minutes": training["seconds"] / 60}),
        notes=f"\n{results['notes']}" if results["notes"] else "",
        **percent(results["overall"]), **percent(results["overall_vsi"], "vsi_"),
        **percent(results["overall_styles"], "styles_"),
    )  # fmt: skip
    (out / "README.md").write_text(card)
    return card


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    vocabulary = json.loads((folder / "tokenizer.json").read_text())
    print(write_card(folder, len(vocabulary["model"]["vocab"]) + len(vocabulary["added_tokens"])))
