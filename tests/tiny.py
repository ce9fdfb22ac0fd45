"""Tiny hosts of the real transformers classes, and batches for them, built without any download."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from vega3d.inputs.clip import Clip, clips_from_tensors, flat_clips
from vega3d.media.frame_plan import FramePlan

WIDTH = 64
VOCABULARY = 300
IMAGE, VIDEO, START, END, PAD = 290, 291, 292, 293, 0
TOKENS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
}
TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 4096,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": PAD,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]},
}


def qwen2_5_vl() -> Any:
    """Qwen2.5-VL with windowed vision attention."""
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(text_config=TEXT, vision_config=vision, tie_word_embeddings=False, **TOKENS)
    return Qwen2_5_VLForConditionalGeneration(config)


def qwen2_vl() -> Any:
    """Qwen2-VL."""
    vision = {"depth": 2, "embed_dim": 32, "hidden_size": WIDTH, "num_heads": 2, "mlp_ratio": 2}
    config = Qwen2VLConfig(text_config=TEXT, vision_config=vision, tie_word_embeddings=False, **TOKENS)
    return Qwen2VLForConditionalGeneration(config)


def qwen3_vl() -> Any:
    """Qwen3-VL with deepstack features."""
    vision = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 2,
        "out_hidden_size": WIDTH,
        "patch_size": 14,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    }
    text = {**TEXT, "head_dim": 16}
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=False, **TOKENS)
    return Qwen3VLForConditionalGeneration(config)


HOSTS = {"qwen2_5_vl": qwen2_5_vl, "qwen2_vl": qwen2_vl, "qwen3_vl": qwen3_vl}


def make_host(name: str, dtype: torch.dtype = torch.float32, seed: int = 0) -> Any:
    """A tiny host with seeded random weights, in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        host = HOSTS[name]().to(dtype).eval()
    host.generation_config.pad_token_id = PAD
    host.generation_config.eos_token_id = None  # random weights: let every test run its full length
    return host


Media = tuple[str, int, int, int]
"""(``image`` or ``video``, frames, rows, columns) with rows and columns in patches."""


def make_batch(host: Any, rows: list[list[Media]], side: str = "left", seed: int = 0) -> dict[str, Any]:
    """A batch as a processor would return it, with random pixels, text and generator's frames.

    Args:
        host: one of :func:`make_host`.
        rows: for each row of the batch its media; an empty list is a text-only row.
        side: padding side.
        seed: seed of all that is random.
    """
    make = torch.Generator().manual_seed(seed)
    sequences, pixels, grids, frames = [], _bins(), _bins(), _bins()
    for row in rows:
        sequence = _text(make, 5)
        for kind, count, height, width in row:
            steps = 1 if kind == "image" else -(-count // 2)
            dim = 3 * host.config.vision_config.temporal_patch_size * 14 * 14
            pixels[kind].append(torch.randn(steps * height * width, dim, generator=make))
            grids[kind].append([steps, height, width])
            shape = (3, height * 9, width * 9) if kind == "image" else (count, 3, height * 9, width * 9)
            frames[kind].append(torch.randint(0, 256, shape, generator=make, dtype=torch.uint8))
            sequence += _placeholders(host, kind, steps, height * width // 4) + _text(make, 3)
        sequences.append(sequence)
    batch = _pad(sequences, side)
    batch["mm_token_type_ids"] = (batch["input_ids"] == IMAGE).int() + 2 * (batch["input_ids"] == VIDEO).int()
    if pixels["image"]:
        batch["pixel_values"] = torch.cat(pixels["image"])
        batch["image_grid_thw"] = torch.tensor(grids["image"])
    if pixels["video"]:
        batch["pixel_values_videos"] = torch.cat(pixels["video"])
        batch["video_grid_thw"] = torch.tensor(grids["video"])
        if host.config.model_type == "qwen2_5_vl":
            batch["second_per_grid_ts"] = torch.full((len(grids["video"]),), 0.5)
    if frames["image"] or frames["video"]:
        batch["generative_clips"] = clips_from_tensors(FramePlan.per_frame, frames["image"], frames["video"])
    return batch


def grouped(batch: dict[str, Any], groups: list[list[int]]) -> dict[str, Any]:
    """The batch with images declared one clip."""
    return batch | {"generative_clips": grouped_clips(batch, groups)}


def grouped_clips(batch: dict[str, Any], groups: list[list[int]]) -> list[Clip]:
    """Clips of a batch of images, some of which are declared one clip."""
    images = as_tensors(batch)["generative_images"]
    return clips_from_tensors(FramePlan.per_frame, images, groups=groups)


def as_tensors(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with decoded frames in place of clips."""
    tensors = {key: value for key, value in batch.items() if key != "generative_clips"}
    for clip in batch["generative_clips"]:
        images, videos = tensors.get("generative_images", []), tensors.get("generative_videos", [])
        if clip.modality == "image":
            tensors["generative_images"] = [*images, clip.frames[0]]
        else:
            tensors["generative_videos"] = [*videos, clip.frames]
    return tensors


def join(rows: list[dict[str, Any]], side: str = "left") -> dict[str, Any]:
    """One batch of several batches of one row, padded anew."""
    batch = _pad([row["input_ids"][0].tolist() for row in rows], side)
    batch["mm_token_type_ids"] = (batch["input_ids"] == IMAGE).int() + 2 * (batch["input_ids"] == VIDEO).int()
    for name in {name: None for row in rows for name in row if name not in batch}:
        parts = [row[name] for row in rows if name in row]
        batch[name] = torch.cat(parts) if isinstance(parts[0], Tensor) else flat_clips(parts)
    return batch


def for_host(batch: dict[str, Any]) -> dict[str, Any]:
    """The same batch without the generator's side: what the bare host takes."""
    return {k: v for k, v in batch.items() if k != "generative_clips"}


def _bins() -> dict[str, list[Any]]:
    return {"image": [], "video": []}


def _text(make: torch.Generator, count: int) -> list[int]:
    return torch.randint(3, 280, (count,), generator=make).tolist()


def _placeholders(host: Any, kind: str, steps: int, tokens: int) -> list[int]:
    if kind == "video" and host.config.model_type == "qwen3_vl":  # one vision span for each time step
        return [token for _ in range(steps) for token in (7, START, *[VIDEO] * tokens, END)]
    return [START, *[IMAGE if kind == "image" else VIDEO] * (steps * tokens), END]


def _pad(sequences: list[list[int]], side: str) -> dict[str, Tensor]:
    longest = max(map(len, sequences))
    ids, mask = [], []
    for sequence in sequences:
        gap = longest - len(sequence)
        left, right = (gap, 0) if side == "left" else (0, gap)
        ids.append([PAD] * left + sequence + [PAD] * right)
        mask.append([0] * left + [1] * len(sequence) + [0] * right)
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
