"""A model that answers questions about clips: our adapter, or its host alone.

Decision: the bare host gets the very same messages and pixels as the adapter, so that the two differ in the
branch only. With ``swap`` the generator's side of another clip is put beside the host's own pixels: the loss
of accuracy is the worth of the branch's information about *this* clip.

Frames are sampled here (`spread`); they are sent as pictures that are declared one clip, or as one video. A
clip is decoded, prepared and encoded once for all consecutive questions about it, and so is the clip that
gives its features away. This module writes nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import BatchFeature

from vega3d._utils.moved import names
from vega3d.errors import InputError, MediaError, MediaNotFoundError
from vega3d.evaluation.media import PICTURE, Media, Pictures, length, read, sampled, source
from vega3d.evaluation.run.prefix_cache import PrefixCache, repeated
from vega3d.fusion.encode import Encoding
from vega3d.inputs.clip import CLIPS, MEDIA
from vega3d.pipeline import Pipeline

As = Literal["images", "video"]
UNUSABLE = (MediaError, MediaNotFoundError, InputError)  # errors of a clip or a question, not of the run
GENERATIVE = (CLIPS,)
KEPT = 2  # clips in memory: the one that is asked about and the one that gives its features
NO_PIXELS = "picture"  # of a message of which only the text is rendered


@dataclass(frozen=True)
class EvalRequest:
    """One question as the model gets it; ``donor`` gives its features away in a swapped run."""

    prompt: str
    media: Media
    system: str = ""
    donor: Media | None = None

    @property
    def clip(self) -> tuple[Any, ...]:
        """Equal for requests that can be answered together."""
        return self.media, self.donor, self.system


@dataclass(frozen=True)
class PreparedRequest:
    """A request, its text as the host gets it, with placeholders, and its tokens (L,)."""

    request: EvalRequest
    text: str
    tokens: torch.Tensor


@dataclass
class EvalModel:
    """Answers, greedily.

    Attributes:
        assistant: model and processor.
        frames: number of frames that are seen, at most.
        send: frames as pictures of one clip, or as one video.
        max_new_tokens: length of an answer.
        plain: ask the host alone.
        max_pixels: area of a frame that the host sees at most; None leaves it to the host's processor.
        label: the text of one picture in a message: ``{image}`` is the picture, ``{n}`` its number from 0.
    """

    assistant: Pipeline
    frames: int
    send: As = "images"
    max_new_tokens: int = 16
    plain: bool = False
    max_pixels: int | None = None
    label: str = PICTURE
    _clips: OrderedDict[Any, PrefixCache | Exception] = field(default_factory=OrderedDict, repr=False)
    _encoded: tuple[Any, Encoding] | None = field(default=None, repr=False)

    def prepare(self, request: EvalRequest) -> PreparedRequest:
        """Decode, render and cut into tokens, so that a broken clip or text is found before it is in a batch.

        Raises:
            MediaError, MediaNotFoundError: a clip is broken, or does not exist.
            InputError: the text cannot be cut into tokens, or the donor has another number of frames.
        """
        clip = self._clip(request)
        text = str(self._rendered(request, [NO_PIXELS] * clip.frames, tokenize=False))
        tokens = clip.tokens(text)
        if request.donor is not None and (other := self._clip(_donor(request))).frames != clip.frames:
            what, fix = "Invalid donor: another number of frames.", "lower --frames to the shortest clip"
            raise InputError(what, got=other.frames, expected=clip.frames, fix=fix)
        return PreparedRequest(request, text, tokens)

    def answer(self, requests: Sequence[EvalRequest]) -> list[str]:
        """One answer for each question; all are about one clip.

        Raises:
            MediaError, MediaNotFoundError, InputError: as `prepare`.
        """
        return self.generate([self.prepare(request) for request in requests])

    def generate(self, batch: Sequence[PreparedRequest]) -> list[str]:
        """One answer for each prepared question, decoded without special tokens and not stripped.

        Raises:
            InputError: the questions are not about one clip.
        """
        first = batch[0].request
        if any(prepared.request.clip != first.clip for prepared in batch):
            raise InputError("Invalid batch: its questions are about several clips.", expected="one clip")
        clip = self._clip(first)
        texts = clip.batch([prepared.tokens for prepared in batch])
        with torch.no_grad():
            tokens = self._generate(clip, first, BatchFeature(texts).to(self.assistant.adapter.device))
        new = tokens[:, texts["input_ids"].shape[1] :]
        return list(self.assistant.processor.batch_decode(new, skip_special_tokens=True))

    def places(self, media: Media) -> list[int]:
        """Numbers of the frames that are seen."""
        return sampled(media, self.frames)

    def forget(self) -> None:
        """Drop the clips that are kept."""
        self._clips.clear()
        self._encoded = None

    def _generate(self, clip: PrefixCache, request: EvalRequest, texts: BatchFeature) -> torch.Tensor:
        model: Any = self.assistant.adapter
        options = {"max_new_tokens": self.max_new_tokens, "do_sample": False, "num_beams": 1}
        rows = len(texts["input_ids"])
        left_out = GENERATIVE if self.plain else MEDIA  # with an encoding, times are all that the host needs
        media = {name: value for name, value in clip.media.items() if name not in left_out}
        inputs = dict(texts) | dict(BatchFeature(repeated(media, rows)).to(model.device))
        if self.plain:
            return torch.as_tensor(model.host.generate(**inputs, **options))
        encoding = self._encoding(clip, request).repeated(rows)
        return torch.as_tensor(model.generate(encoding=encoding, **inputs, **options))

    def _encoding(self, clip: PrefixCache, request: EvalRequest) -> Encoding:
        """The clip as the model sees it; computed once for consecutive questions."""
        if self._encoded is None or self._encoded[0] != request.clip:
            media = {name: value for name, value in clip.media.items() if name in MEDIA}
            if request.donor is not None:
                donated = self._clip(_donor(request)).media
                media |= {name: donated[name] for name in GENERATIVE if name in donated}
            model: Any = self.assistant.adapter
            self._encoded = (request.clip, model.encode(**BatchFeature(media).to(model.device)))
        return self._encoded[1]

    def _clip(self, request: EvalRequest) -> PrefixCache:
        """The clip of a question, prepared once; a broken one is not decoded again, either."""
        key = (request.media, request.system)
        if key not in self._clips:
            try:
                self._clips[key] = self._prepare(request)
            except UNUSABLE as error:
                self._clips[key] = error
            while len(self._clips) > KEPT:
                self._clips.popitem(last=False)
        self._clips.move_to_end(key)
        clip = self._clips[key]
        if isinstance(clip, Exception):
            raise clip
        return clip

    def _prepare(self, request: EvalRequest) -> PrefixCache:
        media = request.media
        request = replace(request, prompt="?")  # a clip does not depend on the first question about it
        if self._as_video(media):
            count = min(self.frames, length(media))
            pictures: list[Any] = [NO_PIXELS] * (count - count % 2 or 1)
        elif isinstance(media, Pictures):  # their files, which a store has as keys
            pictures = [source(media.places[place]) for place in self.places(media)]
        else:
            pictures = read(media, self.places(media))
        batch = self._rendered(request, pictures, tokenize=True)
        text = str(self._rendered(request, [NO_PIXELS] * len(pictures), tokenize=False))
        return PrefixCache.of(self.assistant.processor.processor, batch, text, len(pictures))

    def _rendered(self, request: EvalRequest, pictures: Sequence[Any], *, tokenize: bool) -> Any:
        system = [{"role": "system", "content": [{"type": "text", "text": request.system}]}]
        content = [*self._content(request.media, pictures), {"type": "text", "text": request.prompt}]
        messages = [*(system if request.system else []), {"role": "user", "content": content}]
        return self.assistant.processor.apply_chat_template(messages, tokenize=tokenize, return_dict=True)

    def _content(self, media: Media, pictures: Sequence[Any]) -> Iterator[dict[str, Any]]:
        """A clip in a message: one video of as many frames, or labelled pictures."""
        limit = {"max_pixels": self.max_pixels} if self.max_pixels else {}
        if self._as_video(media):
            if isinstance(media, Path):
                yield {"type": "video", "video": str(media), "nframes": len(pictures), **limit}
            else:
                files = [source(media.places[place]) for place in sampled(media, len(pictures))]
                yield {"type": "video", "video": files, "fps": 2.0, **limit}
            return
        one_clip = {"clip": "clip"} if isinstance(media, Path) or media.clip else {}
        before, _, after = self.label.partition(PICTURE)
        for number, picture in enumerate(pictures):
            if before:
                yield {"type": "text", "text": before.replace("{n}", str(number))}
            yield {"type": "image", "image": picture, **one_clip, **limit}
            if after:
                yield {"type": "text", "text": after.replace("{n}", str(number))}

    def _as_video(self, media: Media) -> bool:
        return self.send == "video" and (isinstance(media, Path) or media.clip)


def _donor(request: EvalRequest) -> EvalRequest:
    assert request.donor is not None
    return replace(request, media=request.donor, donor=None)


__getattr__ = names(__name__, {"Answerer": f"{__name__}:EvalModel", "Asked": f"{__name__}:EvalRequest"})
