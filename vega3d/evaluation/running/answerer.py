"""A model that answers questions about clips: our adapter, or its host alone.

Decision: the bare host gets the very same messages and pixels as the adapter, so that the two differ in the
branch only. With ``swap`` the generator's side of another clip is put beside the host's own pixels: what
that costs is what the branch knew about *this* clip.

Frames are sampled here, evenly, both ends included, truncated to whole numbers (the published runners'
``linspace(0, n - 1, k)``); they are sent as pictures that are declared one clip, or as one video. Consecutive
questions about one clip share its encoding. This module knows no benchmark and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import BatchFeature

from vega3d.adapter import MEDIA
from vega3d.assistant import Assistant
from vega3d.decoding import probe, read_frames
from vega3d.errors import InputError

As = Literal["images", "video"]
OF_HOST = ("pixel_values", "pixel_values_videos", "image_grid_thw", "video_grid_thw")
GENERATIVE = tuple(name for name in MEDIA if name not in OF_HOST)
SWAPPED = ("generative_images", "generative_videos", "generative_plans", "image_features", "video_features")


@dataclass(frozen=True)
class Asked:
    """One question as the model gets it; ``donor`` gives its features away in a swapped run."""

    prompt: str
    media: Path
    system: str = ""
    donor: Path | None = None


@dataclass
class Answerer:
    """Answers, greedily.

    Attributes:
        assistant: model and processor.
        frames: how many frames are seen, at most.
        send: frames as pictures of one clip, or as one video.
        max_new_tokens: length of an answer.
        plain: ask the host alone.
        max_pixels: area of a frame that the host sees at most; None leaves it to the host's processor.
    """

    assistant: Assistant
    frames: int
    send: As = "images"
    max_new_tokens: int = 16
    plain: bool = False
    max_pixels: int | None = None
    _encoded: tuple[Any, Any] | None = field(default=None, repr=False)

    def prompt(self, asked: Asked) -> str:
        """The text that the host gets, with its placeholders, before it is cut into tokens."""
        return str(self._render([asked], tokenize=False)[0])

    def answer(self, batch: Sequence[Asked]) -> list[str]:
        """One answer for each question, decoded without special tokens and not stripped.

        Raises:
            MediaError: a clip is broken.
            MediaNotFoundError: a clip is not there.
            InputError: a donor has another number of frames.
        """
        inputs = self._render(batch, tokenize=True).to(self.assistant.model.device)
        if any(asked.donor is not None for asked in batch):
            self._swap(inputs, batch)
        with torch.no_grad():
            tokens = self._generate(dict(inputs), batch)
        new = tokens[:, inputs["input_ids"].shape[1] :]
        return self.assistant.processor.batch_decode(new, skip_special_tokens=True)

    def check(self, asked: Asked) -> None:
        """Decode what would be seen, so that a broken clip is found before a batch is made of it."""
        for media in filter(None, (asked.media, asked.donor)):
            read_frames(media, self.places(media))

    def places(self, media: Path) -> list[int]:
        """Numbers of the frames that are seen."""
        count = _length(media)
        return [int(place) for place in np.linspace(0, count - 1, min(count, self.frames))]

    def _generate(self, inputs: dict[str, Any], batch: Sequence[Asked]) -> torch.Tensor:
        options = {"max_new_tokens": self.max_new_tokens, "do_sample": False, "num_beams": 1}
        model: Any = self.assistant.model
        if self.plain:
            bare = {name: value for name, value in inputs.items() if name not in GENERATIVE}
            tokens: torch.Tensor = model.host.generate(**bare, **options)
            return tokens
        media = {name: inputs.pop(name) for name in MEDIA if name in inputs}
        seen = [(asked.media, asked.donor) for asked in batch]
        if self._encoded is None or self._encoded[0] != seen:
            self._encoded = (seen, model.encode(**media))
        tokens = model.generate(encoding=self._encoded[1], **inputs, **options)
        return tokens

    def _render(self, batch: Sequence[Asked], *, tokenize: bool) -> Any:
        return self.assistant.processor.apply_chat_template(
            [self._messages(asked, asked.media, tokenize) for asked in batch],
            tokenize=tokenize,
            return_dict=True,
            padding_side="left" if tokenize else None,
        )

    def _messages(self, asked: Asked, media: Path, pixels: bool = True) -> list[dict[str, Any]]:
        system = (
            [{"role": "system", "content": [{"type": "text", "text": asked.system}]}] if asked.system else []
        )
        content = [*self._media(media, pixels), {"type": "text", "text": asked.prompt}]
        return [*system, {"role": "user", "content": content}]

    def _media(self, media: Path, pixels: bool) -> list[dict[str, Any]]:
        limit = {"max_pixels": self.max_pixels} if self.max_pixels else {}
        if self.send == "video":
            count = min(self.frames, _length(media))
            return [{"type": "video", "video": str(media), "nframes": count - count % 2 or 1, **limit}]
        places = self.places(media)
        shown: Any = read_frames(media, places) if pixels else [media] * len(places)
        return [{"type": "image", "image": frame, "clip": "clip", **limit} for frame in shown]

    def _swap(self, inputs: BatchFeature, batch: Sequence[Asked]) -> None:
        others = [Asked(asked.prompt, asked.donor or asked.media, asked.system) for asked in batch]
        for asked in batch:
            if asked.donor and len(self.places(asked.donor)) != len(self.places(asked.media)):
                raise InputError(
                    f"{asked.donor.name} cannot give its features to {asked.media.name}.",
                    got=f"{len(self.places(asked.donor))} frames",
                    expected=f"{len(self.places(asked.media))} frames",
                    fix="lower --frames to the shortest clip",
                )
        donated = self._render(others, tokenize=True)
        for name in SWAPPED:
            if name in donated:
                inputs[name] = donated[name]


def _length(media: Path) -> int:
    return probe(media, fps=2.0 if media.is_dir() else None).n_frames  # pictures have no rate of their own
