"""Vega3DProcessor: the host's own processor, with the generator's clips added to its output.

Every picture and frame is decoded once. The host's processor gets it at its decoded size, exactly as in a
direct call, and the generator gets the same pixels. Videos are sampled here, so that both get the same
frames. The host's processor is called with the sampled frames and their times, and does not sample itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import vega3d._utils.torchvision  # noqa: F401  # must run before transformers is imported

# isort: split
from transformers import BatchFeature

from vega3d import checkpoint
from vega3d.config import Vega3DConfig
from vega3d.errors import HostError
from vega3d.hosts.base import family_of_processor
from vega3d.inputs import arguments, host_processor
from vega3d.inputs.clip import CLIPS, Clip
from vega3d.inputs.messages import DEFAULTS, ImageRequest, VideoRequest, limits_of, parse
from vega3d.inputs.source import ClipSource, plan_images, plan_video
from vega3d.media.frame_plan import frame_plan
from vega3d.media.image import load_image
from vega3d.media.overlays import draw
from vega3d.registry import backbone_record
from vega3d.store import FeatureStore
from vega3d.store.feature_store import CacheHit


class Vega3DProcessor:
    """The host's processor, with the generator's pictures and frames in its output.

    Args:
        processor: a Qwen2-VL, Qwen2.5-VL or Qwen3-VL processor of transformers.
        config: settings of the wrapped model; its backbone's ``mode`` selects the frames to encode.
        store: stored features of the generator. Cache hits are read here, in the data workers, and not
            computed again. None uses no store.

    Raises:
        HostError: ``processor`` is something else, for example only a tokenizer.
        StoreError: the features of the store come from a generator with other settings.
    """

    def __init__(
        self, processor: Any, config: Vega3DConfig | None = None, store: FeatureStore | None = None
    ) -> None:
        parts = ("tokenizer", "image_processor", "apply_chat_template")
        if missing := [name for name in parts if not hasattr(processor, name)]:
            what = "Invalid processor: not the processor of a vision-language host."
            got = f"{type(processor).__name__} without {', '.join(missing)}"
            expected, fix = "that of a Qwen2-VL, Qwen2.5-VL or Qwen3-VL", "use AutoProcessor.from_pretrained"
            raise HostError(what, got=got, expected=expected, fix=fix)
        self.processor = processor
        self.config = config if config is not None else Vega3DConfig()
        self.family = family_of_processor(processor, self.config.host.model_type)
        self.store = store
        if store is not None:
            store.require_settings(backbone_record(self.config.backbone))
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
            path: ``pico``, or a folder or hub id of a checkpoint or of a host.
            config: settings of the wrapped model; None takes those of the checkpoint.
            image_only: True uses no torchvision: pictures are resized by Pillow, videos by torch; None does
                so only where torchvision is missing.
            store: stored features of the generator.
            kwargs: ``revision``, ``cache_dir``, ``token``, … of transformers.

        Raises:
            CheckpointError: a checkpoint is damaged, or neither holds nor names a processor.
        """
        source, revision, settings = checkpoint.find_processor(path, kwargs.pop("revision", None))
        kwargs |= {} if revision is None else {"revision": revision}
        processor = host_processor.load_host_processor(source, image_only, **kwargs)
        return cls(processor, settings if config is None else config, store)

    def save_pretrained(self, path: str | Path) -> None:
        """Write the host's processor files; the host's own class can read them too."""
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
                the result of ``process_vision_info`` of qwen-vl-utils, floating point in 0..255.
            video_metadata: transformers' ``VideoMetadata`` of each video, for frames that are already sampled
                or decoded.
            fps: sampling rate of files, or the rate of given frames, in 1/s; one for all, or one a video.
            image_groups: lists of indices of images that form one clip; other images are clips of their own.
            clips: the same as a name (or None) for each image; instead of ``image_groups``.
            padding: as for the host's processor.
            return_tensors: as for the host's processor.
            kwargs: of the host's processor; and ``nframes``, ``min_frames``, ``max_frames``, ``min_pixels``,
                ``max_pixels``, ``video_start``, ``video_end`` for all media.

        Returns:
            The output of the host's processor and, if there are media, ``generative_clips``: one ``Clip`` for
            each clip of images, then one for each video, with uint8 frames at their decoded size. On a cache
            hit a clip holds the stored features and no frames.

        Raises:
            MediaNotFoundError, MediaError: a medium is missing, damaged, or cannot be used.
            InputError, UnknownKeywordError: arguments do not fit together, or one is unknown.
            DependencyError: there is a video, torchvision is missing, and the host's pixels need it.
        """
        defaults = {key: kwargs.pop(key) for key in DEFAULTS if key in kwargs}
        sources = arguments.flat_images(images)
        image_requests = [ImageRequest(source, limits_of(defaults)) for source in sources]
        video_requests = arguments.video_requests(videos, video_metadata, fps, defaults)
        groups = arguments.image_groups(len(image_requests), image_groups, clips)
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
            padding: as for the host's processor.
            return_tensors: as for the host's processor.
            padding_side: ``left`` or ``right``. None takes ``left`` if an answer is to be generated, because
                padding between question and answer changes the answer; otherwise the tokenizer's own.
            processor_kwargs: of the host's processor; the same may be given directly.
            kwargs: variables of the chat template, and as in ``__call__``.

        Returns, raises:
            As ``__call__``.
        """
        kwargs = {**(processor_kwargs or {}), **kwargs}
        defaults = {key: kwargs.pop(key) for key in DEFAULTS if key in kwargs}
        parsed = parse(conversation, defaults)
        for_template = host_processor.take_template_keywords(self.processor, kwargs)
        for_template |= {"tokenize": False, "add_generation_prompt": add_generation_prompt}
        messages = parsed.messages if parsed.batched else parsed.messages[0]
        text = self.processor.apply_chat_template(messages, **for_template)
        if not tokenize:
            return text
        kwargs.update(padding=padding, return_tensors=return_tensors)
        continues = add_generation_prompt or for_template.get("continue_final_message")
        if padding_side is not None:
            kwargs["padding_side"] = padding_side
        elif continues and "padding_side" not in kwargs.get("text_kwargs", {}):
            kwargs.setdefault("padding_side", "left")
        batch = self._encode(text, parsed.images, parsed.videos, parsed.groups, kwargs)
        return batch if return_dict else batch["input_ids"]

    def _encode(
        self,
        text: str | Sequence[str] | None,
        images: Sequence[ImageRequest],
        videos: Sequence[VideoRequest],
        groups: list[list[int]],
        kwargs: dict[str, Any],
    ) -> BatchFeature:
        sampled = kwargs.get("do_sample_frames") is False
        host_processor.take_unknown(self.processor, kwargs)
        counts = {self.processor.image_token: len(images), self.processor.video_token: len(videos)}
        host_processor.check_text(text, counts)
        if videos:
            host_processor.require_video_processor(self.processor)
        pictures = [load_image(request.source) for request in images]
        drawn = [draw(picture, request.marks) for picture, request in zip(pictures, images, strict=True)]
        host_processor.check_pictures(self.family, pictures, groups)
        sources = self._plan_videos(videos, sampled)
        clips = [source.clip("video", (index,), self.store) for index, source in enumerate(sources)]
        pairs = zip(sources, clips, strict=True)
        decoded = [source.decode(self._needs_frames(clip)) for source, clip in pairs]
        limits = [request.limits for request in images], [request.limits for request in videos]
        host = host_processor.sized(self.processor, self.family, *limits)
        prompts = text if isinstance(text, str) or text is None else list(text)
        of_host = [frames for frames, _ in decoded]
        of_videos = host_processor.video_inputs(self.processor, sources, of_host, kwargs)
        batch = host(text=prompts, images=drawn or None, **of_videos, **kwargs)
        of_images = self._image_clips(images, pictures, drawn, groups)
        clips = [replace(clip, frames=frames) for clip, (_, frames) in zip(clips, decoded, strict=True)]
        if of_images or clips:  # as the last key, because accelerate takes the batch size from the first one
            batch[CLIPS] = of_images + clips
        return batch

    def _plan_videos(self, requests: Sequence[VideoRequest], sampled: bool) -> list[ClipSource]:
        """Plan videos; warn once if one of them was resized before."""
        guess = partial(host_processor.assumed_metadata, self.processor, self.family, sampled=sampled)
        plan, merged = partial(frame_plan, self.config.backbone), host_processor.frames_merged(self.processor)
        sources = [plan_video(request, plan, merged, guess) for request in requests]
        for number, source in enumerate(sources):
            host_processor.check_aspect(self.family, source.size[1], source.size[0], f"Video {number}")
        resized = [source.size for source in sources if source.given is not None]
        if resized and not self._warned_of_size:
            self._warned_of_size = True
            (height, width), apart = resized[0], (0, 100)  # does the plan of two frames have others, too?
            is_lacking = len(plan(apart).generative) > len(apart)
            lacking = " Frames in between, which its settings ask for, are missing." if is_lacking else ""
            warnings.warn(
                f"Frames came as floating point in 0..255, {width}x{height}: qwen-vl-utils has resized them,"
                f" and the generator gets them at that size.{lacking} To give it frames at their own size,"
                " let processor.apply_chat_template(messages, tokenize=True, return_dict=True) read them.",
                UserWarning,
                stacklevel=2,
            )
        return sources

    def _image_clips(
        self,
        requests: Sequence[ImageRequest],
        pictures: Sequence[Tensor],
        drawn: Sequence[Tensor],
        groups: Sequence[Sequence[int]],
    ) -> list[Clip]:
        with_marks = self.config.marks == "both"
        plan = partial(frame_plan, self.config.backbone)
        encoded, clips = (drawn if with_marks else pictures), []
        for group in groups:
            members, pixels = [requests[index] for index in group], [pictures[index] for index in group]
            source = plan_images(members, plan, drawn=with_marks, pixels=pixels)
            clip = source.clip("image", group, self.store)
            if self._needs_frames(clip):
                frames = [encoded[group[position]] for position in clip.plan.generative]
                clip = replace(clip, frames=torch.stack(frames))
            clips.append(clip)
        return clips

    def _needs_frames(self, clip: Clip) -> bool:
        """True if an encoder needs the clip's frames; features of further streams are not stored."""
        return bool(self.config.semantic_streams) or not isinstance(clip.cached, CacheHit)

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
        """The host's video processor; without torchvision one that makes the same pixels with torch."""
        return self.processor.video_processor

    @property
    def chat_template(self) -> Any:
        """The host's chat template."""
        return self.processor.chat_template

    @property
    def model_input_names(self) -> list[str]:
        """Names that the wrapped model takes: the host's and ``generative_clips``."""
        return [*self.processor.model_input_names, CLIPS]

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """Call the tokenizer's ``batch_decode``."""
        return list(self.processor.batch_decode(*args, **kwargs))

    def decode(self, *args: Any, **kwargs: Any) -> str:
        """Call the tokenizer's ``decode``."""
        return str(self.processor.decode(*args, **kwargs))

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool = True, **kwargs: Any
    ) -> list[str]:
        """Decode generated tokens; transformers' pipelines call it."""
        return self.batch_decode(generated_outputs, skip_special_tokens=skip_special_tokens, **kwargs)

    def __repr__(self) -> str:
        backbone, store = backbone_record(self.config.backbone), self.store
        mode = f"{backbone['type']}, mode {backbone.get('mode', 'frame')}"
        return f"Vega3DProcessor({type(self.processor).__name__}, {mode}, store {store and store.path})"
