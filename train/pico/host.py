"""Train the pico host: a tiny real Qwen2.5-VL that answers questions about rooms, without any branch.

    python -m train.pico.data --cache CACHE --split val --scenes 60
    python -m train.pico.data --cache CACHE --split train --scenes 6000     # may go on beside training
    python -m train.pico.host --cache CACHE --run RUN --minutes 80
    python -m train.pico.eval --run RUN --cache CACHE                       # writes the card

Decisions: the clip is encoded once for about sixteen questions (pack.py); a helper loss makes visual
tokens tell what they show and where (its heads are thrown away), at first on its own; what is asked when
stands in sampler.py, what is never asked in vega3d/rooms/held_out.py; the clock and the checkpoint are
run.py's.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from train.pico.data import HELPERS, KINDS_END, SHARES, Cache, Row
from train.pico.fast import speed_up
from train.pico.model import build_config, build_processor, train_tokenizer
from train.pico.pack import IGNORE, Packed, Packer, forward, greedy
from train.pico.run import Run, mixed, shown
from train.pico.sampler import ASKED, Sampler, texts_of
from train.pico.score import Blind, score, summary
from vega3d.rooms.furniture import CATEGORIES, COLOURS


class Helper(nn.Module):
    """Heads that read kinds, colours, depth and place from visual tokens; not part of the host."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, HELPERS))
        self.late = nn.Linear(width, HELPERS)

    def forward(self, visual: Tensor, hidden: Tensor | None, target: Tensor) -> Tensor:
        """visual, hidden (B, n, D), target (B, n, HELPERS) -> scalar; place is asked of ``hidden`` only."""
        near = self.early(visual).float()
        depth = nn.functional.smooth_l1_loss(near[..., SHARES], target[..., SHARES])
        if hidden is None:
            return shown_loss(near, target) + depth
        far = self.late(hidden).float()
        place = nn.functional.smooth_l1_loss(far[..., SHARES:], target[..., SHARES:])
        return shown_loss(near, target) + 0.5 * shown_loss(far, target) + depth + 2 * place


def shown_loss(read: Tensor, target: Tensor) -> Tensor:
    """Which kinds and colours a token shows: a quarter of the token already counts as the whole."""
    wanted = target[..., :SHARES].clone()
    wanted[..., 1:] *= 4
    loss = nn.functional.binary_cross_entropy_with_logits(
        read[..., :SHARES], wanted.clamp(0, 1), reduction="none"
    )
    return 0.25 * (loss[..., :KINDS_END].sum(-1) + loss[..., KINDS_END:].sum(-1)).mean()


class Words:
    """The words of kinds and colours: a visual token that shows a red bed is to lie near "red" and "bed".

    The questions' words and the visual tokens then live in one space from early on, so that finding what a
    question names takes one look. No parameters: the table is the model's own embedding.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.ids = [tokenizer(f" {word}").input_ids for word in (*CATEGORIES, *COLOURS)]

    def loss(self, model: Any, visual: Tensor, target: Tensor) -> Tensor:
        """visual (B, n, D), target (B, n, HELPERS) -> scalar."""
        table = model.model.language_model.embed_tokens.weight.float()
        words = torch.stack([table[ids].mean(0) for ids in self.ids]) - table.mean(0)
        near = nn.functional.normalize(visual.float(), dim=-1) @ nn.functional.normalize(words, dim=-1).T
        wanted = (4 * target[..., 1:SHARES]).clamp(0, 1)
        loss = nn.functional.binary_cross_entropy_with_logits(16 * near - 4, wanted, reduction="none")
        return 0.25 * loss.sum(-1).mean()


def losses(
    model: Any, helper: Helper, words: Words, batch: Packed, target: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Answer loss (mean over answer tokens) and helper loss."""
    visual, hidden = forward(model, batch)
    start = batch.prefix.shape[1]
    wanted = batch.labels != IGNORE
    logits = model.lm_head(hidden[:, start:][wanted])
    answer = nn.functional.cross_entropy(logits.float(), batch.labels[wanted])
    if target is None:
        return answer, answer.new_zeros(())
    seen = hidden[:, :start][batch.media].view(visual.shape)
    return answer, helper(visual, seen, target) + words.loss(model, visual, target)


def looking(model: Any, helper: Helper, words: Words, batch: Packed, target: Tensor) -> Tensor:
    """Helper loss of the vision tower alone: a fifth of the work of a whole step."""
    media = model.model.get_video_features(batch.patches, batch.grid).pooler_output
    visual = torch.cat(tuple(media)).view(len(target), -1, media[0].shape[-1])
    return helper(visual, None, target) + words.loss(model, visual, target)


def matrices(model: Any) -> list[nn.Parameter]:
    """The matrices inside blocks: Muon's; embeddings, gains, biases and helper heads are AdamW's."""
    names = ("embed", "lm_head")
    return [p for n, p in model.named_parameters() if p.ndim == 2 and not any(word in n for word in names)]


@torch.no_grad()
def evaluate(
    model: Any, packer: Packer, cache: Cache, blind: Blind, scenes: int
) -> dict[str, dict[str, float]]:
    """Greedy answers on held-out scenes beside the blind ones, per type."""
    model.eval()
    mine: dict[str, list[float]] = defaultdict(list)
    guess: dict[str, list[float]] = defaultdict(list)
    for first in range(0, min(scenes, len(cache.lines)), 4):
        chosen = range(first, min(scenes, first + 4, len(cache.lines)))
        rows = [few(cache.lines[i]["asked"]) for i in chosen]
        pixels = torch.from_numpy(np.stack([cache.pixels[i] for i in chosen])).float()
        with mixed():
            said = greedy(model, packer, pixels, [[q[1] for q in row] for row in rows], longest=4)
        for row, answers in zip(rows, said, strict=True):
            for (kind, prompt, truth), answer in zip(row, answers, strict=True):
                mine[kind].append(score(kind, answer, truth))
                guess[kind].append(score(kind, blind.answer(kind, prompt), truth))
    model.train()
    blindly = summary(guess)
    return {k: {**v, "blind": blindly[k]["score"]} for k, v in summary(mine).items()}


def few(rows: list[Row], most: int = 2) -> list[Row]:
    """At most two questions of each family that is asked."""
    seen: Counter[str] = Counter()
    chosen = []
    for row in rows:
        seen[row[0]] += 1
        if row[0] in ASKED and seen[row[0]] <= most:
            chosen.append(row)
    return chosen


def show(results: dict[str, dict[str, float]]) -> str:
    """One short line a type."""
    return "\n".join(
        f"    {k:30s} {v['score']:.3f} ± {v['se']:.3f}  blind {v['blind']:.3f}  n {v['n']}"
        for k, v in results.items()
    )


def prepare(folder: Path, cache: Cache, seed: int) -> tuple[Any, Any]:
    """Model and processor: from the run's folder, or new (tokenizer trained on the cache's questions)."""
    if not (folder / "processor").exists():
        texts = [text for facts in cache.lines[:400] for text in texts_of(facts)]
        build_processor(train_tokenizer(texts)).save_pretrained(folder / "processor")
    processor = AutoProcessor.from_pretrained(folder / "processor")
    torch.manual_seed(seed)
    return Qwen2_5_VLForConditionalGeneration(build_config(processor.tokenizer)), processor


def step(run: Run, sampler: Sampler, words: Words, args: argparse.Namespace) -> tuple[float, float]:
    """One step; its answer loss (nan while only pictures are learned) and helper loss."""
    model, helper = run.modules["model"], run.modules["helper"]
    assert isinstance(helper, Helper)
    batch, target = sampler.draw(run.done)
    with mixed():
        if target is not None and run.done < args.looking:
            aid = looking(model, helper, words, batch, target)
            answer = aid.new_full((), torch.nan)
            total = aid
        else:
            answer, aid = losses(model, helper, words, batch, target)
            total = answer + args.helper * aid
    total.backward()
    run.update()
    return answer.item(), aid.item()


def train(args: argparse.Namespace) -> None:
    """Train until the clock says so."""
    torch.set_num_threads(args.threads)
    cache, held_out = Cache(args.cache, "train", args.capacity), Cache(args.cache, "val", args.val)
    while cache.refresh() < 400:
        time.sleep(2)
    args.run.mkdir(parents=True, exist_ok=True)
    model, processor = prepare(args.run, cache, args.seed)
    modules = {"model": model, "helper": Helper(model.config.text_config.hidden_size)}
    run = Run(args.run, modules, matrices(model), args.minutes, args.lr, average=["model"])
    print("resumed" if run.load() else "new", f"{model.num_parameters():,} parameters", flush=True)
    speed_up(model, compiled=not args.eager)
    packer = Packer(model, processor)
    # A resumed run draws other batches.
    sampler = Sampler(cache, packer, args.batch, args.questions, [args.seed, run.step])
    words = Words(processor.tokenizer)
    log, next_eval = [], run.seconds + args.eval_every * 60
    while run.done < 1 and run.seconds < 60 * args.stop:
        with run.timed():
            log.append(step(run, sampler, words, args))
        if run.step % 25 == 0:
            report(run, log[-25:], cache.refresh())
        if run.seconds > next_eval:
            held_out.refresh()
            blind = Blind(tuple(q) for facts in cache.lines[:2000] for q in facts["asked"])
            with run.at_average():
                print(show(evaluate(model, packer, held_out, blind, args.eval_scenes)), flush=True)
            next_eval = run.seconds + args.eval_every * 60
    run.save()
    (args.run / "done.json").write_text(json.dumps({"step": run.step, "seconds": run.seconds, **shown(args)}))


def report(run: Run, log: list[tuple[float, float]], scenes: int) -> None:
    """One line about the last steps."""
    answer, aid = np.mean(log, axis=0)
    print(
        f"step {run.step} {run.seconds / 60:.1f} min loss {answer:.3f} helper {aid:.3f} "
        f"lr {run.rate():.1e} scenes {scenes} {run.seconds / run.step:.2f} s/step",
        flush=True,
    )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=80)
    parser.add_argument("--stop", type=float, default=1e9, help="end at this minute; another call goes on")
    parser.add_argument("--capacity", type=int, default=6000, help="scenes the training cache was made for")
    parser.add_argument("--val", type=int, default=60, help="scenes that the held-out cache was made for")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--questions", type=int, default=16, help="at most")
    parser.add_argument("--looking", type=float, default=0.25, help="share of the run on pictures alone")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--helper", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eager", action="store_true", help="do not compile (no C++ compiler needed)")
    parser.add_argument("--eval-every", type=float, default=12, help="minutes")
    parser.add_argument("--eval-scenes", type=int, default=24)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
