"""Train and ask one arm; resumes from its last checkpoint and ends with the same weights.

The rooms of a step depend on seed and step alone. A checkpoint holds the trained tensors and Adam's moments.
Both twins of a room are in one batch, with all their questions.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from experiments.miniature.motion.bed import SIDE, Bed
from experiments.miniature.motion.config import Tuning
from experiments.miniature.motion.rooms import Set
from vega3d._utils.files import write_whole
from vega3d.rooms.twins import MIDDLE

CHECKPOINT = "checkpoint.safetensors"
ASKED = 8  # rooms that are asked at once
CLIP = 1.0


class Source:
    """Inputs of a bed for rooms of one set.

    Args:
        bed: the model.
        rooms: the set.
        features: (N, 2, tokens, C), or None.
    """

    def __init__(self, bed: Bed, rooms: Set, features: NDArray[np.float16] | None) -> None:
        self.bed, self.rooms, self.features = bed, rooms, features
        self.tokens: dict[tuple[int, int], Tensor] = {}

    def visual(self, clips: list[tuple[int, int]], shift: int = 0) -> Tensor:
        """(B, n, D) of (room, twin); features come from the room ``shift`` further on."""
        arm = self.bed.arm
        if arm.trains_tower:
            return self.bed.tokens(torch.stack([self._pictures(*clip) for clip in clips]))
        tokens = torch.stack([self._tokens(*clip) for clip in clips])
        donors = [((room + shift) % len(self.rooms), twin) for room, twin in clips]
        return self.bed.fused(tokens, self._features(donors))

    def _features(self, clips: list[tuple[int, int]]) -> Tensor | None:
        if self.bed.arm.source == "small":
            windows = torch.stack([self._small(*clip) for clip in clips])
            encoded: Tensor = self.bed.encoder(windows)
            return encoded
        if self.features is None:
            if self.bed.arm.source != "host":
                return None
            return torch.stack([self._tokens(*clip) for clip in clips])
        return torch.from_numpy(np.stack([self.features[clip] for clip in clips]))

    def _pictures(self, room: int, twin: int) -> Tensor:
        if self.bed.arm.pictures == 1:
            return self.bed.prepared(self.rooms.frames[room, MIDDLE : MIDDLE + 1])
        return self.bed.prepared(self.rooms.window(room, twin))

    def _tokens(self, room: int, twin: int) -> Tensor:
        key = (room, twin if self.bed.arm.pictures > 1 else 0)
        if key not in self.tokens:
            with torch.no_grad():
                self.tokens[key] = self.bed.tokens(self._pictures(room, twin)[None])[0]
        return self.tokens[key]

    def _small(self, room: int, twin: int) -> Tensor:
        frames = torch.from_numpy(self.rooms.window(room, twin)).permute(3, 0, 1, 2).float() / 127.5 - 1
        return (
            torch.nn.functional.interpolate(frames, SIDE, mode="area") if frames.shape[-1] != SIDE else frames
        )


def asked_of(rooms: Set, room: int, twin: int, types: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """(question, answer, other word) of a clip."""
    found = [rooms.words[room][kind] for kind in types if kind in rooms.words[room]]
    return [(text, *_pair(words, twin)) for text, *words in found]


def _pair(words: list[str], twin: int) -> tuple[str, str]:
    """The right word and the other one; both twins of a question of depth have one answer."""
    other = words[1 - twin]
    if other == words[twin]:
        other = "no" if other == "yes" else "yes"
    return words[twin], other


def train(
    folder: Path,
    bed: Bed,
    source: Source,
    count: int,
    steps: int,
    seed: int,
    tuning: Tuning,
    types: tuple[str, ...],
) -> dict[str, Any]:
    """Train on the first ``count`` rooms; returns the losses and what is trained."""
    usable = [room for room in range(count) if asked_of(source.rooms, room, 0, types)]
    optimizer = torch.optim.AdamW(bed.groups(tuning), weight_decay=0.0)
    losses = _resume(folder, bed, optimizer)
    bed.train()
    for step in range(len(losses), steps):
        draw = np.random.default_rng([seed, step])
        chosen = draw.choice(usable, min(tuning.batch, len(usable)), replace=False)
        clips = [(int(room), twin) for room in chosen for twin in (0, 1)]
        asked = [[row[:2] for row in asked_of(source.rooms, *clip, types)] for clip in clips]
        loss = bed.loss(source.visual(clips), asked, bed.arm.pictures)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], CLIP)
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * share_of(step, steps, tuning.warmup)
        optimizer.step()
        losses.append(float(loss.detach()))
        if (step + 1) % tuning.save == 0 or step + 1 == steps:
            _save(folder, bed, optimizer, losses)
    trained = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    return {
        "losses": [round(value, 5) if math.isfinite(value) else None for value in losses],
        "finite": all(map(math.isfinite, losses)),
        "contribution": round(bed.contribution, 4) if bed.is_fused else None,
        "trained": trained,
    }


def share_of(step: int, steps: int, warmup: int) -> float:
    """Share of the learning rate in a step: warm-up, then a cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def ask(bed: Bed, source: Source, types: tuple[str, ...], shift: int = 0) -> list[float]:
    """Scores of all questions, in the order of ``Set.asked``."""
    bed.eval()
    scores: list[float] = []
    for start in range(0, len(source.rooms), ASKED):
        rooms = range(start, min(start + ASKED, len(source.rooms)))
        clips = [(room, twin) for room in rooms for twin in (0, 1) if asked_of(source.rooms, room, 0, types)]
        if not clips:
            continue
        rows = [asked_of(source.rooms, *clip, types) for clip in clips]
        with torch.no_grad():
            visual = source.visual(clips, shift)
        pairs = [[row[:2] for row in own] for own in rows]
        scores += bed.scores(visual, pairs, [[row[2] for row in own] for own in rows], bed.arm.pictures)
    return scores


def _trained(bed: Bed) -> dict[str, Any]:
    return {name: p for name, p in bed.named_parameters() if p.requires_grad}


def _save(folder: Path, bed: Bed, optimizer: torch.optim.Optimizer, losses: list[float]) -> None:
    tensors: dict[str, Tensor] = {}
    for name, parameter in _trained(bed).items():
        state = optimizer.state[parameter]
        tensors |= {f"{kind} {name}": state[kind].contiguous() for kind in ("exp_avg", "exp_avg_sq", "step")}
        tensors[f"weight {name}"] = parameter.detach().contiguous()
    kept = {"losses": json.dumps(losses)}
    write_whole(folder / CHECKPOINT, lambda part: save_file(tensors, str(part), metadata=kept))


def _resume(folder: Path, bed: Bed, optimizer: torch.optim.Optimizer) -> list[float]:
    """Load the last checkpoint; returns the losses so far."""
    file = folder / CHECKPOINT
    if not file.exists():
        return []
    from safetensors import safe_open

    tensors = load_file(str(file))
    for name, parameter in _trained(bed).items():
        parameter.data.copy_(tensors[f"weight {name}"])
        optimizer.state[parameter] = {k: tensors[f"{k} {name}"] for k in ("step", "exp_avg", "exp_avg_sq")}
    with safe_open(str(file), "pt") as opened:
        losses: list[float] = json.loads(opened.metadata()["losses"])
    return losses
