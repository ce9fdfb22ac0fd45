"""Train the pico host: a tiny real Qwen2.5-VL that answers questions about rooms, without any branch.

    python train/pico_data.py --cache CACHE --split val --scenes 100
    python train/pico_data.py --cache CACHE --split train --scenes 7000     # may go on beside training
    python train/pico_host.py --cache CACHE --run RUN --minutes 55
    python train/pico_eval.py --run RUN                                     # writes the card

Decisions: the clip is encoded once for about twenty questions (pico_pack.py); a helper loss makes visual
tokens tell what they show and where (its heads are thrown away); the schedule follows the clock, so a
budget is met on any machine. Killed at any time, it goes on from its last checkpoint (safetensors + JSON).
"""

from __future__ import annotations

import vega3d._torchvision  # noqa: F401  (before transformers)

# isort: split
import argparse
import json
import math
import os
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from pico_data import HELPERS, Cache
from pico_fast import speed_up
from pico_model import build_config, build_processor, train_tokenizer
from pico_pack import IGNORE, Packed, Packer, forward, greedy
from pico_score import Blind, score, summary
from vega3d.rooms import COLOURS, KINDS

MEASURES = {
    "object_abs_distance",
    "object_size_estimation",
    "room_size_estimation",
    "distance",
    "size",
    "area",
}
SHARES = 1 + len(KINDS) + len(COLOURS)


class Helper(nn.Module):
    """Heads that read kinds, colours, depth and place from visual tokens; not part of the host."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.early = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, HELPERS))
        self.late = nn.Linear(width, HELPERS)

    def forward(self, visual: Tensor, hidden: Tensor, target: Tensor) -> Tensor:
        """visual, hidden (B, n, D), target (B, n, HELPERS) -> scalar."""
        near, far = self.early(visual), self.late(hidden)
        shares = sum(
            nn.functional.binary_cross_entropy_with_logits(
                x[..., :SHARES].float(), target[..., :SHARES].clamp(0, 1)
            )
            for x in (near, far)
        )
        depth = nn.functional.smooth_l1_loss(near[..., SHARES].float(), target[..., SHARES])
        place = nn.functional.smooth_l1_loss(far[..., SHARES:].float(), target[..., SHARES:])
        return 4 * shares + depth + 2 * place


def questions(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """All (type, prompt, answer) of one scene."""
    rows = [(q["type"], q["prompt"], q["answer"]) for q in facts["vsi"]]
    return rows + [(q["family"], q["question"], q["answer"]) for q in facts["plain"]]


class Sampler:
    """Draws packed training batches from the cache."""

    def __init__(self, cache: Cache, packer: Packer, args: argparse.Namespace) -> None:
        self.cache, self.packer, self.args = cache, packer, args
        self.rng = np.random.default_rng(args.seed)

    def pick(self, facts: dict[str, Any]) -> list[tuple[str, str]]:
        """About ``args.questions`` of a scene's questions, VSI and plain ones half and half.

        The list of the room is always among them: it says what is there in one answer.
        """
        vsi = [(q["type"], q["prompt"], q["answer"]) for q in facts["vsi"]]
        plain = [(q["family"], q["question"], q["answer"]) for q in facts["plain"]]
        chosen = [q for q in plain if q[0] == "list"]
        for pool in (vsi, [q for q in plain if q[0] != "list"]):
            # Directions are long and the hardest: asked less often, the rest is learned sooner.
            weight = np.array([0.4 if "direction" in q[0] else 1.0 for q in pool])
            size = min(len(pool), self.args.questions // 2)
            drawn = self.rng.choice(len(pool), size, replace=False, p=weight / weight.sum())
            chosen += [pool[int(i)] for i in drawn]
        return [(prompt, self.blur(kind, answer)) for kind, prompt, answer in chosen]

    def blur(self, kind: str, answer: str) -> str:
        """Measures vary by 8 %: the likeliest answer is then near the middle of what is likely."""
        if kind not in MEASURES:
            return answer
        value = float(answer) * (1 + 0.08 * float(self.rng.normal()))
        return f"{value:.1f}" if "." in answer else str(round(value))

    def draw(self) -> tuple[Packed, Tensor | None]:
        """A batch and its helper targets (B, n, HELPERS); None for clips sent as images."""
        rng = self.rng
        chosen = rng.integers(len(self.cache.lines), size=self.args.batch)
        asked = [self.pick(self.cache.lines[i]) for i in chosen]
        pixels = augment(torch.from_numpy(self.cache.pixels[chosen]).float(), rng)
        if rng.random() < 0.1:
            frames = np.sort(rng.permutation(pixels.shape[1])[:4])
            return self.packer.pack(pixels[:, frames], asked, kind="image"), None
        seconds = 1.5 if rng.random() < 0.8 else float(rng.choice([0.5, 1.0, 2.0]))
        target = torch.from_numpy(self.cache.helpers[chosen]).float()
        return self.packer.pack(pixels, asked, seconds=seconds), target


def augment(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Clips (B, T, H, W, 3) in 0..255 with another exposure, tint and a little sensor noise."""
    b = len(pixels)
    gain = torch.from_numpy(
        rng.uniform(0.88, 1.12, (b, 1, 1, 1, 1)) * rng.uniform(0.96, 1.04, (b, 1, 1, 1, 3))
    )
    noise = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(int(rng.integers(2**31))))
    return (pixels * gain.float() + noise * float(rng.uniform(0, 4))).clamp(0, 255)


def losses(model: Any, helper: Helper, batch: Packed, target: Tensor | None) -> tuple[Tensor, Tensor]:
    """Answer loss (mean over answer tokens) and helper loss."""
    visual, hidden = forward(model, batch)
    start = batch.prefix.shape[1]
    wanted = batch.labels != IGNORE
    logits = model.lm_head(hidden[:, start:][wanted])
    answer = nn.functional.cross_entropy(logits.float(), batch.labels[wanted])
    if target is None:
        return answer, answer.new_zeros(())
    seen = hidden[:, :start][batch.media].view(visual.shape)
    return answer, helper(visual, seen, target)


def optimizers(model: Any, helper: Helper, lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside blocks, AdamW for embeddings, gains, biases and heads."""
    inside, rest = [], list(helper.parameters())
    for name, p in model.named_parameters():
        (inside if p.ndim == 2 and "embed" not in name and "lm_head" not in name else rest).append(p)
    muon = torch.optim.Muon(inside, lr=lr, weight_decay=0.05, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)]


class Run:
    """Everything that must survive a kill: weights, their moving average, optimizers, clock."""

    def __init__(self, folder: Path, model: Any, helper: Helper, args: argparse.Namespace) -> None:
        self.folder, self.model, self.helper, self.args = folder, model, helper, args
        self.optimizers = optimizers(model, helper, args.lr)
        self.average = {n: p.detach().clone() for n, p in model.named_parameters()}
        self.step, self.seconds = 0, 0.0

    def rate(self) -> float:
        """Learning rate now: 50 steps of warm-up, then a cosine over the clock down to 2 %."""
        done = min(1.0, self.seconds / (60 * self.args.minutes))
        warm = min(1.0, (self.step + 1) / 50)
        return self.args.lr * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def update(self) -> None:
        """One step of both optimizers and of the moving average."""
        nn.utils.clip_grad_norm_([*self.model.parameters(), *self.helper.parameters()], 1.0)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        decay = min(0.995, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                self.average[name].lerp_(p, 1 - decay)

    def save(self) -> None:
        """Write the checkpoint; the old one stays valid until the new one is complete."""
        tensors = {f"model.{n}": p.detach() for n, p in self.model.named_parameters()}
        tensors |= {f"helper.{n}": p.detach() for n, p in self.helper.named_parameters()}
        tensors |= {f"average.{n}": p for n, p in self.average.items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{i}.{j}.{k}": torch.as_tensor(v) for k, v in state.items()}
        clock = {"step": str(self.step), "seconds": str(self.seconds)}
        scratch = self.folder / "checkpoint.part"
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, str(scratch), metadata=clock)
        os.replace(scratch, self.folder / "checkpoint.safetensors")

    def load(self) -> bool:
        """Go on from the folder's checkpoint, if there is one."""
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return False
        tensors = load_file(str(path))
        for part, module in (("model.", self.model), ("helper.", self.helper)):
            own = {k.removeprefix(part): v for k, v in tensors.items() if k.startswith(part)}
            module.load_state_dict(own, strict=False)
        self.average = {k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")}
        states: list[dict[int, dict[str, Tensor]]] = [defaultdict(dict) for _ in self.optimizers]
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, i, j, name = key.split(".")
                states[int(i)][int(j)][name] = value
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
        clock = read_clock(path)
        self.step, self.seconds = int(clock["step"]), float(clock["seconds"])
        return True

    def swap_average(self) -> None:
        """Exchange the weights and their moving average (in place; call again to go back)."""
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                kept = p.detach().clone()
                p.copy_(self.average[name])
                self.average[name] = kept


def read_clock(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    from safetensors import safe_open

    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata())


@torch.no_grad()
def evaluate(
    run: Run, packer: Packer, cache: Cache, blind: Blind, scenes: int
) -> dict[str, dict[str, float]]:
    """Greedy answers on held-out scenes beside the blind ones, per type."""
    run.model.eval()
    mine: dict[str, list[float]] = defaultdict(list)
    guess: dict[str, list[float]] = defaultdict(list)
    for first in range(0, scenes, 4):
        chosen = range(first, min(scenes, first + 4))
        rows = [[q for q in questions(cache.lines[i]) if q[0] != "list"] for i in chosen]
        pixels = torch.from_numpy(np.stack([cache.pixels[i] for i in chosen])).float()
        with torch.autocast("cpu", torch.bfloat16):
            said = greedy(run.model, packer, pixels, [[q[1] for q in row] for row in rows], longest=5)
        for row, answers in zip(rows, said, strict=True):
            for (kind, prompt, truth), answer in zip(row, answers, strict=True):
                mine[kind].append(score(kind, answer, truth))
                guess[kind].append(score(kind, blind.answer(kind, prompt), truth))
    run.model.train()
    blindly = summary(guess)
    return {k: {**v, "blind": blindly[k]["score"]} for k, v in summary(mine).items()}


def show(results: dict[str, dict[str, float]]) -> str:
    """One short line a type."""
    return "\n".join(
        f"    {k:30s} {v['score']:.3f} ± {v['se']:.3f}  blind {v['blind']:.3f}  n {v['n']}"
        for k, v in results.items()
    )


def prepare(folder: Path, cache: Cache, seed: int) -> tuple[Any, Any]:
    """Model and processor: from the run's folder, or new (tokenizer trained on the cache's questions)."""
    if not (folder / "processor").exists():
        texts = [t for facts in cache.lines[:400] for q in questions(facts) for t in (q[1], q[2], " " + q[2])]
        build_processor(train_tokenizer(texts)).save_pretrained(folder / "processor")
    processor = AutoProcessor.from_pretrained(folder / "processor")
    torch.manual_seed(seed)
    return Qwen2_5_VLForConditionalGeneration(build_config(processor.tokenizer)), processor


def train(args: argparse.Namespace) -> None:
    """Train until the clock says so."""
    torch.set_num_threads(args.threads)
    cache, held_out = Cache(args.cache, "train", args.capacity), Cache(args.cache, "val", args.val)
    held_out.refresh()
    while cache.refresh() < 100:
        time.sleep(2)
    args.run.mkdir(parents=True, exist_ok=True)
    model, processor = prepare(args.run, cache, args.seed)
    run = Run(args.run, model, Helper(model.config.text_config.hidden_size), args)
    print("resumed" if run.load() else "new", f"{model.num_parameters():,} parameters", flush=True)
    speed_up(model, compiled=not args.eager)
    packer = Packer(model, processor)
    sampler = Sampler(cache, packer, args)
    sampler.rng = np.random.default_rng([args.seed, run.step])  # a resumed run draws other batches
    blind = Blind(q for facts in cache.lines[:2000] for q in questions(facts))
    last_save, next_eval, log = run.seconds, run.seconds + args.eval_every * 60, []
    while run.seconds < 60 * args.minutes:
        begin = time.time()
        batch, target = sampler.draw()
        with torch.autocast("cpu", torch.bfloat16):
            answer, aid = losses(model, run.helper, batch, target)
        (answer + args.helper * aid).backward()
        run.update()
        run.seconds += time.time() - begin
        log.append((answer.item(), aid.item()))
        if run.step % 25 == 0:
            a, h = np.mean(log[-25:], axis=0)
            line = (
                f"step {run.step} {run.seconds / 60:.1f} min loss {a:.3f} helper {h:.3f} lr {run.rate():.1e}"
            )
            print(f"{line} scenes {cache.refresh()} {run.seconds / run.step:.2f} s/step", flush=True)
        if run.seconds > last_save + 180:
            run.save()
            last_save = run.seconds
        if run.seconds > next_eval:
            run.swap_average()
            print(show(evaluate(run, packer, held_out, blind, args.eval_scenes)), flush=True)
            run.swap_average()
            next_eval = run.seconds + args.eval_every * 60
    run.save()
    (args.run / "done.json").write_text(json.dumps({"step": run.step, "seconds": run.seconds, **shown(args)}))


def shown(args: argparse.Namespace) -> dict[str, Any]:
    """The settings without paths."""
    return {k: v for k, v in vars(args).items() if not isinstance(v, Path)}


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=55)
    parser.add_argument(
        "--capacity", type=int, default=7000, help="scenes that the training cache was made for"
    )
    parser.add_argument("--val", type=int, default=100, help="scenes that the held-out cache was made for")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--helper", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eager", action="store_true", help="do not compile (no C++ compiler needed)")
    parser.add_argument("--eval-every", type=float, default=8, help="minutes")
    parser.add_argument("--eval-scenes", type=int, default=24)
    train(parser.parse_args())


if __name__ == "__main__":
    main()
