"""Many questions about one clip in one sequence, each seen exactly as it would be alone.

Decision: [system, user, clip] is encoded once; every question attends to that prefix and to itself only (a
block mask), and its positions start where the prefix ends. Logits equal those of separate sequences, at a
fraction of the cost. Holds for clips as one video item and for clips as several images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
BEFORE_ANSWER = "<|im_end|>\n<|im_start|>assistant\n"
IGNORE = -100


@dataclass
class Packed:
    """B clips with their questions.

    Attributes:
        patches: (B * patches, 1176) float32 pixels; grid: (videos or images, 3).
        kind: "video" or "image".
        prefix: (B, P) ids; questions: (B, L) ids, padded; segment: (B, L) 1.. per question, 0 for padding.
        labels: (B, L), IGNORE outside answers; the label of a position is the *next* token.
        positions: (3, B, P + L).
        media: (B, P) bool, where the visual tokens go.
        longest: tokens of the longest question with its answer.
    """

    patches: Tensor
    grid: Tensor
    kind: str
    prefix: Tensor
    questions: Tensor
    segment: Tensor
    labels: Tensor
    positions: Tensor
    media: Tensor
    longest: int


class Packer:
    """Turns pixels and (prompt, answer) pairs into packed batches for one model and tokenizer."""

    def __init__(self, model: Any, processor: Any) -> None:
        self.model, self.processor, self.tokenizer = model, processor, processor.tokenizer
        self._memo: dict[str, list[int]] = {}
        self._prefix_memo: dict[tuple[Any, ...], tuple[list[int], Tensor]] = {}

    def ids(self, text: str) -> list[int]:
        """Token ids, remembered (prompts repeat)."""
        if text not in self._memo:
            self._memo[text] = self.tokenizer(text).input_ids
        return self._memo[text]

    def pack(
        self, pixels: Tensor, asked: list[list[tuple[str, str]]], *, kind: str = "video", seconds: float = 1.5
    ) -> Packed:
        """pixels (B, T, H, W, 3) in 0..255 float; ``asked``: for each clip its (prompt, answer) pairs."""
        patches, grid = self._patches(pixels, kind)
        prefix, start = self._prefix(pixels.shape[1], grid, kind, seconds)
        rows = [self._row(pairs) for pairs in asked]
        longest = max(len(row[0]) for row in rows)
        length = -(-longest // 72) * 72  # few shapes, for a compiler's sake
        ids, labels, segment, offset = (np.zeros((len(rows), length), np.int64) for _ in range(4))
        labels[:] = IGNORE
        for b, row in enumerate(rows):
            for array, values in zip((ids, labels, segment, offset), row, strict=True):
                array[b, : len(values)] = values
        first = start[:, -1].max() + 1  # after the last *text* position: a clip's time may run further
        tail = torch.from_numpy(offset)[None].expand(3, -1, -1) + first
        positions = torch.cat([start[:, None].expand(3, len(rows), -1), tail], dim=2)
        prefix_ids = torch.tensor(prefix)[None].expand(len(rows), -1)
        pad = self.tokenizer.convert_tokens_to_ids(f"<|{kind}_pad|>")
        ids_, segment_, labels_ = (torch.from_numpy(x) for x in (ids, segment, labels))
        longest = int(offset.max()) + 1
        return Packed(
            patches, grid, kind, prefix_ids, ids_, segment_, labels_, positions, prefix_ids == pad, longest
        )

    def _row(self, pairs: list[tuple[str, str]]) -> tuple[list[int], list[int], list[int], list[int]]:
        """Ids, next-token labels, segment numbers and position offsets of one clip's questions."""
        ids: list[int] = []
        labels: list[int] = []
        segment: list[int] = []
        offset: list[int] = []
        end = self.tokenizer.convert_tokens_to_ids("<|im_end|>")
        for number, (prompt, answer) in enumerate(pairs, start=1):
            question, reply = self.ids(prompt + BEFORE_ANSWER), [*self.ids(answer), end]
            tokens = question + reply[:-1]
            ids += tokens
            labels += [IGNORE] * (len(question) - 1) + reply
            segment += [number] * len(tokens)
            offset += range(len(tokens))
        return ids, labels, segment, offset

    def _patches(self, pixels: Tensor, kind: str) -> tuple[Tensor, Tensor]:
        part = self.processor.video_processor
        mean, std = (torch.tensor(v) * 255 for v in (part.image_mean, part.image_std))
        video = ((pixels - mean) / std).permute(0, 1, 4, 2, 3)  # (B, T, 3, H, W)
        if kind == "image":
            video = video.flatten(0, 1)[:, None]  # every frame its own item of one frame
        flat, t, h, w = part.patchify(video, part.patch_size, part.merge_size, part.temporal_patch_size)
        return flat.flatten(0, 1), torch.tensor([[t, h, w]]).expand(len(video), -1)

    def _prefix(self, frames: int, grid: Tensor, kind: str, seconds: float) -> tuple[list[int], Tensor]:
        """Ids of the prefix (P,) and its positions (3, P)."""
        key = (frames, tuple(grid[0].tolist()), kind, seconds)
        if key not in self._prefix_memo:
            items = frames if kind == "image" else 1
            tokens = int(grid[0].prod()) // 4
            item = "<|vision_start|>" + f"<|{kind}_pad|>" * tokens + "<|vision_end|>"
            ids = self.tokenizer(SYSTEM + item * items).input_ids
            pad = self.tokenizer.convert_tokens_to_ids(f"<|{kind}_pad|>")
            types = [(2 if kind == "video" else 1) if i == pad else 0 for i in ids]
            where = {f"{kind}_grid_thw": grid[:items]}
            positions, _ = self.model.model.get_rope_index(
                torch.tensor([ids]), mm_token_type_ids=torch.tensor([types]),
                second_per_grid_ts=torch.tensor([seconds]) if kind == "video" else None, **where,
            )  # fmt: skip
            self._prefix_memo[key] = ids, positions[:, 0]
        return self._prefix_memo[key]


def forward(model: Any, batch: Packed) -> tuple[Tensor, Tensor]:
    """Visual tokens (B, n, D) and last hidden states (B, P + L, D)."""
    if batch.kind == "video":
        media = model.model.get_video_features(batch.patches, batch.grid).pooler_output
    else:
        media = model.model.get_image_features(batch.patches, batch.grid).pooler_output
    visual = torch.cat(tuple(media)).view(len(batch.prefix), -1, media[0].shape[-1])
    embeds = model.model.language_model.embed_tokens(torch.cat([batch.prefix, batch.questions], dim=1))
    where = torch.nn.functional.pad(batch.media, (0, batch.questions.shape[1]))
    embeds = embeds.masked_scatter(where[..., None], visual.to(embeds.dtype))
    chunked = getattr(model, "pico_chunks", None)  # set by fast.speed_up
    mask = chunked(batch) if chunked is not None else block_mask(batch)
    out = model.model.language_model(
        inputs_embeds=embeds, attention_mask={"full_attention": mask},
        position_ids=batch.positions, use_cache=False,
    )  # fmt: skip
    return visual, out.last_hidden_state


def block_mask(batch: Packed) -> Tensor:
    """(B, 1, P + L, P + L) bool: causal, to the prefix and to the own question only."""
    zeros = torch.zeros_like(batch.prefix)
    segment = torch.cat([zeros, torch.where(batch.segment == 0, -1, batch.segment)], dim=1)
    allowed = (segment[:, None, :] == 0) | (segment[:, None, :] == segment[:, :, None])
    n = segment.shape[1]
    return (allowed & torch.ones(n, n, dtype=torch.bool).tril())[:, None]


@torch.no_grad()
def greedy(
    model: Any, packer: Packer, pixels: Tensor, prompts: list[list[str]], longest: int = 6, **how: Any
) -> list[list[str]]:
    """Greedy answers for many prompts a clip, by filling the answers token by token in the packed form."""
    tokenizer = packer.tokenizer
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    batch = packer.pack(pixels, [[(p, "0" * (longest - 1)) for p in row] for row in prompts], **how)
    slots = batch.labels != IGNORE  # each question has exactly ``longest`` of them
    b, at = slots.nonzero(as_tuple=True)
    at = at.view(-1, longest)
    b = b.view(-1, longest)
    taken = []
    for step in range(longest):
        _, hidden = forward(model, batch)
        here = hidden[b[:, step], batch.prefix.shape[1] + at[:, step]]
        token = model.lm_head(here.to(model.lm_head.weight.dtype)).argmax(-1)
        taken.append(token)
        if step + 1 < longest:
            batch.questions[b[:, step], at[:, step] + 1] = token
    rows = torch.stack(taken, 1).tolist()
    counts = iter([tokenizer.decode(row[: row.index(end)] if end in row else row) for row in rows])
    return [[next(counts) for _ in row] for row in prompts]
