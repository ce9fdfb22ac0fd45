"""Calls of a transformers processor: a size for each medium, one spare frame, no torchvision.

A host's processor takes one size for all media of a call, while users set limits for each medium. So where
limits are given, its image or video processor is called once for each medium with that medium's size, and the
results are joined. Without torchvision, torch makes the same video pixels (``inputs.torch_videos``).

The times of a video's frames are never left to a default of the host.
"""

from __future__ import annotations

import copy
import importlib
import re
import warnings
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from typing import Any

import torch
from jinja2 import Environment, meta
from torch import Tensor
from torch.nn import functional as F

import vega3d._utils.torchvision  # noqa: F401  # must run before transformers is imported

# isort: split
from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer, BatchFeature
from transformers.processing_utils import ProcessorMixin
from transformers.video_utils import VideoMetadata

from vega3d.errors import HostError, InputError, MediaError, UnknownKeywordError
from vega3d.hosts.base import HostFamily, family_of_processor
from vega3d.hosts.keywords import reject_unknown
from vega3d.inputs.clip import require_one_size
from vega3d.inputs.messages import Limits
from vega3d.inputs.source import ClipSource
from vega3d.inputs.torch_videos import TorchVideoProcessor, videos_need_torchvision

TEMPLATE_KEYWORDS = ("chat_template", "tools", "documents", "continue_final_message")
PARTS = ("image_processor", "video_processor")
ASSUMED_FPS = 24  # transformers' rate of frames that come without one
RESIZED_TOKENS = (4, 16384)  # qwen-vl-utils' bounds for resized_height x resized_width


def torchvision_usable() -> bool:
    """True if torchvision is installed and imports."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError):
        return False
    return True


def load_host_processor(path: str, image_only: bool | None = None, **kwargs: Any) -> Any:
    """The processor of a host, from a folder or hub id.

    Args:
        path: folder or hub id.
        image_only: True uses no torchvision: pictures are resized by Pillow, videos by torch; None does so
            only where torchvision is missing.
        kwargs: ``revision``, ``cache_dir``, ``token``, ``local_files_only``, … of transformers.

    Raises:
        HostError: the files name no processor class.
    """
    if image_only is None:
        image_only = not torchvision_usable()
    if not image_only:
        return AutoProcessor.from_pretrained(path, **kwargs)
    record, _ = ProcessorMixin.get_processor_dict(path, **kwargs)
    tokenizer = AutoTokenizer.from_pretrained(path, **kwargs)
    images = AutoImageProcessor.from_pretrained(path, backend="pil", **kwargs)
    settings, _ = TorchVideoProcessor.get_video_processor_dict(path, **kwargs)
    template = record.get("chat_template") or tokenizer.chat_template
    kind = _processor_class(path, record, tokenizer, settings)
    processor = kind.__new__(kind)  # its own check of its parts looks for classes of torchvision
    videos = TorchVideoProcessor(family_of_processor(processor), settings)
    processor.check_argument_for_proper_class = lambda name, part: None
    processor.__init__(images, tokenizer, videos, chat_template=template)
    del processor.check_argument_for_proper_class
    return processor


def _processor_class(path: str, record: Mapping[str, Any], tokenizer: Any, videos: Mapping[str, Any]) -> Any:
    import transformers

    stated = (record, tokenizer.init_kwargs, videos)
    name = next((entry["processor_class"] for entry in stated if entry.get("processor_class")), None)
    if name is None or not hasattr(transformers, name):
        what = f"Missing processor class: the files of {path!r} name none of transformers."
        expected = "for example Qwen2_5_VLProcessor, in processor_config.json or preprocessor_config.json"
        fix = "pass the folder of a Qwen-VL, or build its processor yourself and pass that"
        raise HostError(what, got=name, expected=expected, fix=fix)
    return getattr(transformers, name)


def require_video_processor(host: Any) -> None:
    """Refuse videos of a host whose video processor is neither there nor known here.

    Raises:
        DependencyError: names the package to install.
    """
    part = getattr(host, "video_processor", None)
    if part is None or (isinstance(part, TorchVideoProcessor) and not part.is_known):
        raise videos_need_torchvision()


def check_aspect(family: HostFamily, width: int, height: int, name: str) -> None:
    """Refuse a strip as a host would, but before anything is computed, and with the name of the medium."""
    ratio = max(width, height) / min(width, height)
    if ratio > family.max_aspect:
        what, got = f"Invalid size: {name} is too long and thin.", f"{width}x{height}, {ratio:.0f} : 1"
        expected = f"at most {family.max_aspect:g} : 1, the limit of the host"
        raise MediaError(what, got=got, expected=expected, fix="crop or pad it")


def check_pictures(family: HostFamily, pictures: Sequence[Tensor], groups: Sequence[Sequence[int]]) -> None:
    """Refuse pictures that are strips, and pictures of one clip that differ in size."""
    for number, picture in enumerate(pictures):
        check_aspect(family, picture.shape[2], picture.shape[1], f"Image {number}")
    for group in groups:
        require_one_size(group, [(picture.shape[1], picture.shape[2]) for picture in pictures])


def at_least(frames: Tensor, merged: int) -> Tensor:
    """At least one full time step: Qwen3-VL refuses fewer frames, the others repeat the last themselves."""
    missing = max(0, merged - len(frames))
    return torch.cat([frames, *[frames[-1:]] * missing]) if missing else frames


def video_inputs(
    host: Any, sources: Sequence[ClipSource], videos: Sequence[Tensor], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Keywords of the host's processor for videos; empty without videos."""
    if not sources:
        return {}
    merged = frames_merged(host)
    inputs: dict[str, Any] = {
        "videos": [at_least(frames, merged) for frames in videos],
        "video_metadata": [
            VideoMetadata(**{**source.metadata, "height": source.size[0], "width": source.size[1]})
            for source in sources
        ],
        "do_sample_frames": False,
    }
    if (
        "cap_pixels_per_frame" in host.video_processor.valid_kwargs.__annotations__
        and "cap_pixels_per_frame" not in kwargs
        and any(source.given is None for source in sources)  # else nothing but what the caller says
    ):
        set_by_host = host.video_processor.cap_pixels_per_frame
        inputs["cap_pixels_per_frame"] = True if set_by_host is None else set_by_host
    return inputs


def assumed_metadata(host: Any, family: HostFamily, count: int, sampled: bool) -> dict[str, Any]:
    """``VideoMetadata`` that a host's processor makes up for frames that come without a rate.

    Returns:
        With ``frames_indices``, those of the frames that it takes.
    """
    metadata = VideoMetadata(total_num_frames=count, frames_indices=list(range(count)))
    if host.video_processor.do_sample_frames and not sampled:
        metadata.frames_indices = list(map(int, host.video_processor.sample_frames(metadata=metadata)))
    taken = len(metadata.frames_indices)
    if family.needs_times:
        warnings.warn(
            f"Frames came without a rate. The host's processor takes {taken} of {count} frames, at"
            f" {ASSUMED_FPS} a second. Pass their true times: process_vision_info(...,"
            " return_video_kwargs=True, return_video_metadata=True), and video_metadata= to the processor.",
            UserWarning,
            stacklevel=2,
        )
    return dict(metadata)


def frames_merged(host: Any) -> int:
    """Frames of a video that the host merges into one time step."""
    return int(getattr(host.image_processor, "temporal_patch_size", 2))


def take_unknown(host: Any, kwargs: dict[str, Any]) -> None:
    """Refuse keywords that no part of the host's processor reads; ``do_sample_frames`` is removed.

    Raises:
        UnknownKeywordError: there is one, or ``do_sample_frames`` is True.
    """
    if kwargs.pop("do_sample_frames", False):
        what = "Invalid do_sample_frames=True: frames are sampled before the host's processor gets them."
        expected, fix = "fps, nframes, min_frames, max_frames", "pass fps= or nframes= instead"
        raise UnknownKeywordError(what, got="do_sample_frames=True", expected=expected, fix=fix)
    reject_unknown("Vega3DProcessor", kwargs, keywords_of(host))


def check_text(text: Any, media: Mapping[str, int]) -> None:
    """Count the media tokens of rendered text: a token typed by a user would take the medium of another.

    Raises:
        InputError: it is no text, tokens and media do not agree, or it cannot be written as UTF-8.
    """
    texts = [] if text is None else text if isinstance(text, (list, tuple)) else [text]
    if not all(isinstance(prompt, str) for prompt in texts):
        what, got = "Invalid text: it must be a string or a list of strings.", type(text).__name__
        expected, fix = "text; the order is (text, images, videos)", "pass text=, images=, videos= by name"
        raise InputError(what, got=got, expected=expected, fix=fix)
    for token, count in media.items():
        written = sum(prompt.count(token) for prompt in texts)
        if texts and written != count:
            what = f"Invalid text: it has {token} {written} times, for {count} media."
            fix = f"remove {token} from the text of the message, or give one for each medium"
            raise InputError(what, got=written, expected=f"{count}, one for each medium", fix=fix)
    for prompt in texts:
        try:
            prompt.encode()
        except UnicodeEncodeError as error:
            what, got = "Invalid text: it has half of a character.", ascii(prompt[error.start : error.end])
            fix = "remove the lone surrogate"
            raise InputError(what, got=got, expected="text in UTF-8", fix=fix) from error


def keywords_of(host: Any) -> set[str]:
    """Every keyword that some part of a host's processor reads."""
    valid, parts = host.valid_processor_kwargs, [getattr(host, name, None) for name in PARTS]
    kinds = [valid, *valid.__annotations__.values(), *(getattr(part, "valid_kwargs", None) for part in parts)]
    return {name for kind in kinds for name in getattr(kind, "__annotations__", {})}


def take_template_keywords(host: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take the keywords of ``apply_chat_template`` and the variables of the chat template out of a call's."""
    template = kwargs.get("chat_template") or host.chat_template
    text = " ".join(template.values()) if isinstance(template, dict) else str(template)
    names = {*TEMPLATE_KEYWORDS, *(_variables_of(text) - keywords_of(host))}
    return {name: kwargs.pop(name) for name in list(kwargs) if name in names}


@lru_cache(maxsize=32)  # parsing takes a tenth of the time of reading a clip
def _variables_of(template: str) -> Set[str]:
    text = re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", template)  # a tag of transformers' own
    return meta.find_undeclared_variables(Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text))


def sized(host: Any, family: HostFamily, images: Sequence[Limits], videos: Sequence[Limits]) -> Any:
    """The host's processor, or a shallow copy of it that honours these limits, one entry a medium."""
    if not any(images) and not any(videos):
        return host
    host = copy.copy(host)
    if any(images):
        host.image_processor = Sized(host.image_processor, images, family)
    if any(videos):
        host.video_processor = Sized(host.video_processor, videos, family)
    return host


class Sized:
    """A host's image or video processor with limits for each medium, called once a medium.

    It is that processor in every other respect.
    """

    def __init__(self, inner: Any, limits: Sequence[Limits], family: HostFamily) -> None:
        self._inner, self._limits, self._family = inner, list(limits), family

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __call__(self, images: Any = None, videos: Any = None, **call: Any) -> BatchFeature:
        """As the host's own, for a list of uint8 pictures (3, H, W) or videos (T, 3, H, W)."""
        media = images if images is not None else videos  # a host passes either of them by position or name
        metadata, parts = call.pop("video_metadata", None), []
        for index, (medium, limits) in enumerate(zip(media, self._limits, strict=True)):
            described = {} if metadata is None else {"video_metadata": [metadata[index]]}
            parts.append(self._one(medium, limits, {**call, **described}))
        return _joined(parts)

    def _one(self, medium: Tensor, limits: Limits, call: Mapping[str, Any]) -> BatchFeature:
        changes: dict[str, Any] = {}
        if limits.resized is not None:
            medium, changes = self._resized(medium, limits.resized, call), {"do_resize": False}
        elif limits and medium.ndim == 3:
            changes = {"size": self._family.picture_size(dict(self._own("size", call)), limits)}
        elif limits:
            size, merged = dict(self._own("size", call)), self._own("temporal_patch_size", call)
            changes = self._family.video_size(size, limits, len(medium), merged)
        return self._inner([medium], **{**call, **changes})

    def _own(self, name: str, call: Mapping[str, Any]) -> Any:
        given = call.get(name)
        return given if given is not None else getattr(self._inner, name)

    def _resized(self, medium: Tensor, size: tuple[int, int], call: Mapping[str, Any]) -> Tensor:
        """A picture or video at a size rounded to whole tokens, as qwen-vl-utils does it."""
        factor = self._own("patch_size", call) * self._own("merge_size", call)
        low, high = (tokens * factor**2 for tokens in RESIZED_TOKENS)
        height, width = max(size[0], factor), max(size[1], factor)
        check_aspect(self._family, width, height, "the requested size")
        sides = self._family.fitted_size((height, width), factor, low, high)
        frames = medium.reshape(-1, *medium.shape[-3:])  # (N, 3, H, W)
        resized = F.interpolate(frames, size=sides, mode="bicubic", antialias=True)
        return resized.reshape(*medium.shape[:-2], *sides)


def _joined(parts: Sequence[BatchFeature]) -> BatchFeature:
    data: dict[str, Any] = {}
    for key in parts[0]:
        values = [part[key] for part in parts]
        if isinstance(values[0], list):
            data[key] = [item for value in values for item in value]
        else:
            data[key] = torch.cat([torch.as_tensor(value) for value in values])
    return BatchFeature(data)
