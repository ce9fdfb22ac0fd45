"""Vega3DProcessor: the host's own processor, and beside its output what the generator needs.

Every picture and frame is decoded once; the host's processor gets it at its decoded size, exactly as if the
user had called it, and the generator's side is the same pixels. Sampling is done here, so that both sides
know which frames they got: the host's processor is always told not to sample, and when each frame was.

This module knows no backbone, no adapter and no model; text and tokens are the host's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, meta
from torch import Tensor

import vega3d._torchvision  # noqa: F401  # must run before transformers is imported

# isort: split
from transformers import BatchFeature
from transformers.video_utils import VideoMetadata

from vega3d.arguments import check_text, flat_images, is_text, named_groups
from vega3d.arguments import image_groups as group_images
from vega3d.arguments import video_requests as request_videos
from vega3d.clips import Clip, Frames, plan_clip
from vega3d.config import Vega3DConfig
from vega3d.errors import HostError, InputError, UnknownKeywordError
from vega3d.given_frames import assumed_metadata, warn_of_size
from vega3d.host_media import (
    NoVideoProcessor,
    at_least,
    check_aspect,
    check_pictures,
    load_host_processor,
    sized,
    videos_need_torchvision,
)
from vega3d.image import load_image
from vega3d.keywords import reject_unknown
from vega3d.marks import draw
from vega3d.messages import DEFAULTS, ImageRequest, VideoRequest, limits_of, parse
from vega3d.store import FeatureStore
from vega3d.store.lookup import Looked, Stored
from vega3d.stored import StoredFeatures
from vega3d.video import FramePlan, frame_plan

TEMPLATE_KEYWORDS = ("chat_template", "tools", "documents", "continue_final_message")


class Vega3DProcessor:
    """The host's processor, whose output also carries the generator's pictures and frames.

    Args:
        processor: a Qwen2-VL, Qwen2.5-VL or Qwen3-VL processor of transformers.
        config: settings of the wrapped model; its backbone's ``mode`` decides which frames are encoded.
        store: stored features of the generator; what it holds is read here, in the data workers, and not
            computed again.

    Raises:
        HostError: ``processor`` is something else, for example only a tokenizer.
        StoreError: the store holds features of a generator with other settings.
    """

    def __init__(
        self, processor: Any, config: Vega3DConfig | None = None, store: FeatureStore | None = None
    ) -> None:
        parts = ("tokenizer", "image_processor", "apply_chat_template")
        if missing := [name for name in parts if not hasattr(processor, name)]:
            raise HostError(
                "This is not the processor of a vision-language host.",
                got=f"{type(processor).__name__} without {', '.join(missing)}",
                expected="a Qwen2VLProcessor, Qwen2_5_VLProcessor or Qwen3VLProcessor",
                fix="pass AutoProcessor.from_pretrained(host)",
            )
        self.processor = processor
        self.config = config if config is not None else Vega3DConfig()
        self.store = store
        self.features = StoredFeatures(store, self.config.backbone)
        self._warned_of_size = False

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        config: Vega3DConfig | None = None,
        *,
        image_only: bool | None = None,
        store: FeatureStore | None = None,
        **kwargs: Any,
    ) -> Vega3DProcessor:
        """Load the host's processor and wrap it.

        Args:
            path: the host's folder or hub id.
            config: settings of the wrapped model.
            image_only: True does without a video processor; None does so only without torchvision.
            store: stored features of the generator.
            kwargs: ``revision``, ``cache_dir``, ``token``, … of transformers.
        """
        return cls(load_host_processor(str(path), image_only, **kwargs), config, store)

    def save_pretrained(self, path: str | Path) -> None:
        """Write the host's processor files, so that either side can read them."""
        self.processor.save_pretrained(str(path))

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        images: Any = None,
        videos: Any = None,
        *,
        video_metadata: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        fps: float | Sequence[float] | None = None,
        image_groups: Sequence[Sequence[int]] | None = None,
        clips: Sequence[str | None] | None = None,
        padding: bool | str = True,
        return_tensors: str | None = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """Prepare rendered text with one placeholder for each medium.

        Args:
            text: one prompt or several.
            images: pictures of the whole batch in order, flat or one list a row; each as for ``load_image``.
            videos: one video, or several in order: a path, an array (T, 3, H, W), or a list of pictures; also
                what ``process_vision_info`` of qwen-vl-utils returns, floating point in 0..255. The host's
                processor gets such frames as they are, and its own assumptions where they have no rate.
            video_metadata: transformers' ``VideoMetadata`` of each video, for frames sampled before.
            fps: rate to sample files at, or the rate of given frames; one for all, or one a video.
            image_groups: images declared one clip, as lists of indices; the others stand alone.
            clips: the same as a name (or None) for each image; instead of ``image_groups``.
            padding: as the host's processor.
            return_tensors: as the host's processor.
            kwargs: of the host's processor; and ``nframes``, ``min_frames``, ``max_frames``, ``min_pixels``,
                ``max_pixels``, ``video_start``, ``video_end`` for all media.

        Returns:
            What the host's processor returns, and, where there are such media: ``generative_images``, a uint8
            (3, H, W) for each image at its decoded size; ``image_groups``, a partition of them into clips;
            ``generative_videos``, a uint8 (T, 3, H, W) for each video; ``generative_plans``, its FramePlan.
            With a store, ``image_features`` for each clip of images and ``video_features`` for each video:
            its features, and then no frames of it, or what is to be computed.

        Raises:
            MediaNotFoundError, MediaError: a medium is missing, damaged, or cannot be used.
            InputError: arguments do not fit together.
            UnknownKeywordError: a keyword that nobody reads.
            DependencyError: a video where torchvision is missing.
        """
        if text is not None and not is_text(text):
            raise InputError(
                "text is no text.",
                got=type(text).__name__,
                expected="a string or a list of strings; the order is (text, images, videos)",
                fix="pass text=, images= and videos= by name",
            )
        defaults = {key: kwargs.pop(key) for key in DEFAULTS if key in kwargs}
        image_requests = [ImageRequest(source, limits_of(defaults)) for source in flat_images(images)]
        video_requests = request_videos(videos, video_metadata, fps, defaults)
        groups = group_images(len(image_requests), image_groups, clips)
        kwargs.update(padding=padding, return_tensors=return_tensors)
        return self._encode(text, image_requests, video_requests, groups, kwargs)

    def apply_chat_template(
        self,
        conversation: Any,
        *,
        add_generation_prompt: bool = True,
        tokenize: bool = True,
        return_dict: bool = True,
        padding: bool | str = True,
        padding_side: str | None = None,
        return_tensors: str | None = "pt",
        processor_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Prepare conversations, with media in transformers' or qwen-vl-utils' form.

        Args:
            conversation: messages, or a list of such lists. Images of one conversation with the same ``clip``
                are one clip.
            add_generation_prompt: end with the start of the assistant's turn.
            tokenize: False gives the rendered text.
            return_dict: False gives ``input_ids`` alone.
            padding: as the host's processor.
            padding_side: ``left`` or ``right``. None is ``left`` where an answer is to be generated
                (``add_generation_prompt`` or ``continue_final_message``), because padding between question
                and answer changes the answer. Otherwise None is the tokenizer's own.
            return_tensors: as the host's processor.
            processor_kwargs: of the host's processor; the same may be given directly.
            kwargs: variables of the chat template, and as in ``__call__``.

        Returns:
            As ``__call__``.

        Raises:
            MediaError, MediaNotFoundError, InputError, UnknownKeywordError, DependencyError: as ``__call__``.
        """
        kwargs = {**(processor_kwargs or {}), **kwargs}
        defaults = {key: kwargs.pop(key) for key in DEFAULTS if key in kwargs}
        parsed = parse(conversation, defaults)
        for_template = {name: kwargs.pop(name) for name in list(kwargs) if self._in_template(name, kwargs)}
        text = self.processor.apply_chat_template(
            parsed.messages if parsed.batched else parsed.messages[0],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **for_template,
        )
        if not tokenize:
            return text
        kwargs.update(padding=padding, return_tensors=return_tensors)
        if padding_side is not None:
            kwargs["padding_side"] = padding_side
        elif add_generation_prompt or for_template.get("continue_final_message"):
            _pad_on_the_left(kwargs)
        groups = named_groups([request.clip for request in parsed.images])
        batch = self._encode(text, parsed.images, parsed.videos, groups, kwargs)
        return batch if return_dict else batch["input_ids"]

    def _in_template(self, name: str, kwargs: Mapping[str, Any]) -> bool:
        if name in TEMPLATE_KEYWORDS or name in self._keywords():
            return name in TEMPLATE_KEYWORDS
        template = kwargs.get("chat_template") or self.processor.chat_template
        templates = " ".join(template.values()) if isinstance(template, dict) else str(template)
        return name in _variables(templates)

    def _encode(
        self,
        text: str | Sequence[str] | None,
        images: Sequence[ImageRequest],
        videos: Sequence[VideoRequest],
        groups: list[list[int]],
        kwargs: dict[str, Any],
    ) -> BatchFeature:
        sampled = kwargs.get("do_sample_frames") is False
        self._check_keywords(kwargs)
        check_text(text, {self.processor.image_token: len(images), self.processor.video_token: len(videos)})
        if videos and isinstance(getattr(self.processor, "video_processor", None), NoVideoProcessor | None):
            raise videos_need_torchvision()
        pictures = [load_image(request.source) for request in images]
        drawn = [draw(picture, request.marks) for picture, request in zip(pictures, images, strict=True)]
        check_pictures(pictures, groups)
        merged = getattr(self.processor.image_processor, "temporal_patch_size", 2)
        clips = self._clips(videos, merged, sampled)
        early = self.features.of_clips(clips)
        frames = [
            clip.decode(None if self._wants_frames(found) else clip.plan.host)
            for clip, found in zip(clips, early, strict=True)
        ]
        host = sized(self.processor, [r.limits for r in images], [c.limits for c in clips])
        video_inputs = self._video_inputs(clips, frames, merged, kwargs) if clips else {}
        prompts = text if isinstance(text, str) or text is None else list(text)
        batch = host(text=prompts, images=drawn or None, **video_inputs, **kwargs)
        if pictures:
            self._add_images(batch, images, pictures, drawn, groups)
        if clips:
            self._add_videos(batch, clips, frames, early)
        return batch

    def _clips(self, requests: Sequence[VideoRequest], merged: int, sampled: bool) -> list[Clip]:
        """Planned videos; warns once if one of them was resized before."""
        guess = partial(assumed_metadata, self.processor, sampled=sampled)
        clips = [plan_clip(request, self._plan, merged, guess) for request in requests]
        for number, clip in enumerate(clips):
            check_aspect(clip.size[1], clip.size[0], f"Video {number}")
        resized = next((clip.size for clip in clips if clip.given is not None), None)
        if resized is not None and not self._warned_of_size:
            warn_of_size(*resized, getattr(self.config.backbone, "mode", "frame"))
            self._warned_of_size = True
        return clips

    def _add_images(
        self,
        batch: BatchFeature,
        requests: Sequence[ImageRequest],
        pictures: Sequence[Tensor],
        drawn: Sequence[Tensor],
        groups: list[list[int]],
    ) -> None:
        both = self.config.marks == "both"
        batch["generative_images"] = list(drawn if both else pictures)
        batch["image_groups"] = groups
        if self.store is not None:
            sources = [request.source for request in requests]
            marks = [request.marks if both else () for request in requests]
            batch["image_features"] = self.features.of_pictures(sources, pictures, marks, groups)

    def _add_videos(
        self,
        batch: BatchFeature,
        clips: Sequence[Clip],
        frames: Sequence[Frames],
        early: Sequence[Looked],
    ) -> None:
        if self.store is not None:
            batch["video_features"] = list(early)
        batch["generative_videos"] = [
            decoded.pick(clip.plan.generative) if self._wants_frames(one) else decoded.pixels[:0]
            for clip, decoded, one in zip(clips, frames, early, strict=True)
        ]
        batch["generative_plans"] = [clip.plan for clip in clips]

    def _wants_frames(self, found: Looked) -> bool:
        """Whether an encoder still has to see the generator's frames; further streams are not stored."""
        return bool(self.config.semantic_streams) or not isinstance(found, Stored)

    def _plan(self, host: Sequence[int]) -> FramePlan:
        return frame_plan(self.config.backbone, host)

    def _video_inputs(
        self, clips: Sequence[Clip], frames: Sequence[Frames], merged: int, kwargs: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Keywords of the host's processor for clips: nothing about their time is left to a default."""
        own = self.processor.video_processor
        inputs: dict[str, Any] = {
            "videos": [
                at_least(clip.for_host(decoded), merged) for clip, decoded in zip(clips, frames, strict=True)
            ],
            "video_metadata": [VideoMetadata(**clip.host_metadata) for clip in clips],
            "do_sample_frames": False,
        }
        if (
            "cap_pixels_per_frame" in own.valid_kwargs.__annotations__
            and "cap_pixels_per_frame" not in kwargs
            and any(clip.given is None for clip in clips)  # else nothing but what the caller says
        ):
            set_by_host = own.cap_pixels_per_frame
            inputs["cap_pixels_per_frame"] = True if set_by_host is None else set_by_host
        return inputs

    def _check_keywords(self, kwargs: dict[str, Any]) -> None:
        if kwargs.pop("do_sample_frames", False):
            raise UnknownKeywordError(
                "do_sample_frames=True is not possible: frames are sampled before the host sees them.",
                got="do_sample_frames=True",
                expected="fps, nframes, min_frames, max_frames",
                fix="pass fps= or nframes= instead",
            )
        reject_unknown("Vega3DProcessor", kwargs, self._keywords())

    def _keywords(self) -> set[str]:
        """Every keyword that some part of the host's processor reads."""
        own = self.processor.valid_processor_kwargs.__annotations__
        names = set(own)
        for part in own.values():
            names |= set(getattr(part, "__annotations__", {}))
        for name in ("image_processor", "video_processor"):
            valid = getattr(getattr(self.processor, name, None), "valid_kwargs", None)
            names |= set(getattr(valid, "__annotations__", {}))
        return names

    @property
    def tokenizer(self) -> Any:
        """The host's tokenizer."""
        return self.processor.tokenizer

    @property
    def image_processor(self) -> Any:
        """The host's image processor."""
        return self.processor.image_processor

    @property
    def video_processor(self) -> Any:
        """The host's video processor; without torchvision a stand-in that refuses videos."""
        return self.processor.video_processor

    @property
    def chat_template(self) -> Any:
        """The host's chat template."""
        return self.processor.chat_template

    @property
    def model_input_names(self) -> list[str]:
        """Names that the wrapped model takes: the host's and ours."""
        ours = ["generative_images", "generative_videos", "generative_plans", "image_groups"]
        return [*self.processor.model_input_names, *ours, "image_features", "video_features"]

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """The tokenizer's ``batch_decode``."""
        return list(self.processor.batch_decode(*args, **kwargs))

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """The tokenizer's ``decode``."""
        return str(self.processor.decode(*args, **kwargs))

    def __repr__(self) -> str:
        return f"Vega3DProcessor({type(self.processor).__name__}, {self.config})"


def _pad_on_the_left(kwargs: dict[str, Any]) -> None:
    """Set the padding side in place, unless it is already set here or among the tokenizer's keywords."""
    if "padding_side" not in kwargs.get("text_kwargs", {}):
        kwargs.setdefault("padding_side", "left")


def _variables(template: str) -> set[str]:
    """Names that a chat template reads; ``generation`` is a tag of transformers' own."""
    known = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", template)
    return meta.find_undeclared_variables(Environment(extensions=["jinja2.ext.loopcontrols"]).parse(known))
