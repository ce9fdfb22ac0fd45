"""Ask a saved pico host about rooms as a user would: mp4, PyAV, stock processor, stock greedy `generate`.

Decision: this is not the fast path of training. What the card states is measured here, and the test that
measures it again uses the same functions. Rooms are of the split "test", which training never drew.
"""

from __future__ import annotations

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import json
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

from train.pico.data import FRAMES_SEEN, Row
from vega3d.rooms import (
    make_chat_questions,
    make_questions,
    make_room,
    render,
    scene_seed,
)
from vega3d.rooms.held_out import room_is_held_out

Said = tuple[int, str, str, str, str]  # scene, type, prompt, truth, answer


def rooms_of(run: int, wanted: int, held_out_style: bool) -> list[int]:
    """Seeds of the first ``wanted`` test rooms of one run, of familiar styles or of the held-out ones."""
    seeds = (scene_seed("test", run, index) for index in count())
    fit = (seed for seed in seeds if room_is_held_out(make_room(seed)) == held_out_style)
    return list(islice(fit, wanted))


def video_of(seed: int, folder: Path) -> tuple[Path, list[Row]]:
    """The mp4 of one room and all its questions (type, prompt, answer); made once a folder."""
    video, notes = folder / f"{seed}.mp4", folder / f"{seed}.json"
    if not notes.exists():
        room = make_room(seed)
        clip = render(room)
        clip.save(video)
        vsi, plain = make_questions(room, clip), make_chat_questions(room, clip)
        rows = [(q.question_type, q.prompt(), q.ground_truth) for q in vsi]
        rows += [(q.family, q.question, q.answer) for q in plain if q.family != "list"]
        notes.write_text(json.dumps(rows))
    return video, [(kind, prompt, answer) for kind, prompt, answer in json.loads(notes.read_text())]


def read_frames(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Eight frames (8, H, W, 3), evenly from first to last, and their video metadata."""
    with av.open(str(path)) as container:
        fps = float(container.streams.video[0].average_rate)
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    chosen = np.linspace(0, len(frames) - 1, FRAMES_SEEN).round().astype(int)
    metadata = {"fps": fps, "total_num_frames": len(frames), "frames_indices": chosen.tolist()}
    return np.stack([frames[i] for i in chosen]), metadata


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
    tokens = model.generate(**inputs, max_new_tokens=12)
    return processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def load(host: Path) -> tuple[Any, Any]:
    """Model in float32 and processor of a saved host."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(host, dtype=torch.float32).eval()
    return model, AutoProcessor.from_pretrained(host)


def ask_all(host: Path, seeds: list[int], folder: Path) -> Iterator[Said]:
    """(scene, type, prompt, truth, answer) over the rooms of these seeds."""
    model, processor = load(host)
    for seed in seeds:
        path, rows = video_of(seed, folder)
        texts = answer(model, processor, path, [prompt for _, prompt, _ in rows])
        for (kind, prompt, truth), text in zip(rows, texts, strict=True):
            yield seed, kind, prompt, truth, text.strip()
