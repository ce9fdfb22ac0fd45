"""Messages, and the comparison with what the host's own processor makes of the same frames."""

from __future__ import annotations

from typing import Any

import torch

OURS = {"generative_clips"}


def groups_of(batch: Any) -> list[list[int]]:
    """Indices of the images of each clip of a batch."""
    return [list(clip.items) for clip in batch["generative_clips"] if clip.modality == "image"]


def user(*content: Any) -> list[dict[str, Any]]:
    """One message of a user: entries as they are, strings as text."""
    entries = [{"type": "text", "text": item} if isinstance(item, str) else item for item in content]
    return [{"role": "user", "content": entries}]


def image(source: Any, **keys: Any) -> dict[str, Any]:
    """A picture of a message."""
    return {"type": "image", "image": source, **keys}


def video(source: Any, **keys: Any) -> dict[str, Any]:
    """A video of a message."""
    return {"type": "video", "video": source, **keys}


def prompt(host: Any, messages: list[dict[str, Any]]) -> str:
    """The text of a conversation as the host's own processor renders it."""
    bare = [
        {**message, "content": [{"type": e["type"], "text": e.get("text", "")} for e in message["content"]]}
        for message in messages
    ]
    return str(host.apply_chat_template(bare, add_generation_prompt=True))


def by_host(host: Any, text: list[str], **media: Any) -> Any:
    """The output of the host's own processor, given all that it would otherwise guess."""
    if "videos" in media:
        media |= {"do_sample_frames": False, "cap_pixels_per_frame": True}
    return host(text=text, padding=True, return_tensors="pt", **media)


def described(frames: Any, indices: Any, fps: float = 8.0, total: int = 12) -> dict[str, Any]:
    """``VideoMetadata`` of the sampled frames of the test clip."""
    return {"fps": fps, "total_num_frames": total, "frames_indices": list(indices)}


def assert_same(ours: Any, theirs: Any) -> None:
    """Every key of the host's, bit for bit, and nothing beside it but ours."""
    assert set(ours) - OURS == set(theirs)
    for key, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(ours[key], value), key
        else:
            assert ours[key] == value, key
