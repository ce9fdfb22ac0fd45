"""The host's video processor where torchvision is missing: the same pixels, made by torch on uint8.

Frames are resized as uint8, as torchvision does on a CPU. Floats that are rounded afterwards give other
pixels, and so does Pillow. Mean and standard deviation are scaled by the range of a pixel first, as in
transformers. Tests hold the result equal to torchvision's, bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import vega3d._utils.torchvision  # noqa: F401  # must run before transformers is imported

# isort: split
from transformers import BatchFeature
from transformers.image_utils import PILImageResampling
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import VideoProcessorMixin
from transformers.video_utils import make_batched_metadata, make_batched_videos

from vega3d.errors import DependencyError
from vega3d.hosts.base import HostFamily

_DEFAULTS: Mapping[str, Any] = {
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": PILImageResampling.BICUBIC,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "cap_pixels_per_frame": None,
    "return_metadata": False,
}


class VideoKeywords(VideosKwargs, total=False):  # type: ignore[call-arg, misc]  # transformers is untyped
    """Keywords of the Qwen video processors beside those of every video processor."""

    min_pixels: int
    max_pixels: int
    patch_size: int
    temporal_patch_size: int
    merge_size: int
    min_frames: int
    max_frames: int
    cap_pixels_per_frame: bool
    max_video_tokens: int


class TorchVideoProcessor(VideoProcessorMixin):  # type: ignore[misc]  # transformers is untyped here
    """Video processor of a host without torchvision.

    Args:
        family: of the host; it has the size of the frames, and settings that are not in the files.
        settings: of the host's video processor, as its files have them.
    """

    valid_kwargs = VideoKeywords
    model_input_names = ["pixel_values_videos", "video_grid_thw"]  # noqa: RUF012  (transformers' own name)

    def __init__(self, family: HostFamily, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.family, self.settings = family, dict(settings)
        stated = {name: value for name, value in settings.items() if value is not None}
        for name, value in {**_DEFAULTS, **family.video_defaults, **stated}.items():
            if name in VideoKeywords.__annotations__:
                setattr(self, name, value)
        if "size" in family.video_defaults or "size" in stated:
            self.size = dict(zip(("shortest_edge", "longest_edge"), self._area(stated), strict=True))

    @property
    def is_known(self) -> bool:
        """True if the pixels of the host's own video processor can be made here."""
        known = self.family.video_processor
        return known is not None and self.settings.get("video_processor_type", known) == known

    def __call__(self, videos: Any, video_metadata: Any = None, **call: Any) -> BatchFeature:
        """Pixels of videos (T, 3, H, W), as the host's own processor makes them.

        Raises:
            DependencyError: the host's processor is another one, or frames are to be sampled or resized by it
                in a way that is not known here.
        """
        is_bicubic = self._setting("resample", call) == PILImageResampling.BICUBIC
        if not self.is_known or call.get("do_sample_frames") or not is_bicubic:
            raise videos_need_torchvision()
        clips = make_batched_videos(videos)
        patches, grids = zip(*(self._patches(torch.as_tensor(clip), call) for clip in clips), strict=True)
        data = {"pixel_values_videos": torch.cat(patches), "video_grid_thw": torch.tensor(grids)}
        batch = BatchFeature(data, tensor_type=call.get("return_tensors"))
        if self._setting("return_metadata", call):
            batch["video_metadata"] = make_batched_metadata(clips, video_metadata)
        return batch

    def sample_frames(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse frames without a rate, which the host's own processor would sample.

        Raises:
            DependencyError: always.
        """
        raise videos_need_torchvision()

    def to_dict(self) -> dict[str, Any]:
        """The settings as they were read, so that saving loses nothing."""
        return copy.deepcopy(self.settings)

    def _setting(self, name: str, call: Mapping[str, Any]) -> Any:
        given = call.get(name)
        return given if given is not None else getattr(self, name)

    def _area(self, call: Mapping[str, Any]) -> tuple[int, int]:
        """Smallest and largest area of ``size``, or of its older names."""
        size = dict(self._setting("size", call))
        low, high = call.get("min_pixels"), call.get("max_pixels")
        return low or size["shortest_edge"], high or size["longest_edge"]

    def _patches(self, frames: Tensor, call: Mapping[str, Any]) -> tuple[Tensor, list[int]]:
        """Patches (n, 3 * merged * patch * patch) of one video, and its grid of steps, rows and columns."""
        names = ("patch_size", "merge_size", "temporal_patch_size")
        patch, merge, merged = (self._setting(name, call) for name in names)
        if self._setting("do_resize", call):
            frames = self._resized(frames, patch * merge, merged, call)
        pixels = self._normalized(frames, call)  # (T, 3, H, W)
        if missing := -len(pixels) % merged:
            pixels = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)])
        steps, rows, columns = len(pixels) // merged, pixels.shape[2] // patch, pixels.shape[3] // patch
        split = (steps, merged, 3, rows // merge, merge, patch, columns // merge, merge, patch)
        patches = pixels.reshape(split).permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
        return patches.reshape(steps * rows * columns, 3 * merged * patch**2), [steps, rows, columns]

    def _resized(self, frames: Tensor, factor: int, merged: int, call: Mapping[str, Any]) -> Tensor:
        is_capped = self._setting("cap_pixels_per_frame", call)
        tokens = self._setting("max_video_tokens", call) if is_capped else None
        shape = (len(frames), frames.shape[2], frames.shape[3])
        sides = self.family.fitted_video(shape, factor, merged, self._area(call), tokens)
        if sides == shape[1:]:
            return frames
        return F.interpolate(frames, size=sides, mode="bicubic", antialias=True)

    def _normalized(self, frames: Tensor, call: Mapping[str, Any]) -> Tensor:
        is_scaled = self._setting("do_rescale", call)
        scale = self._setting("rescale_factor", call) if is_scaled else 1.0
        if not self._setting("do_normalize", call):
            return frames * scale if is_scaled else frames
        mean, std = (torch.tensor(self._setting(name, call)) for name in ("image_mean", "image_std"))
        mean, std = (value.view(-1, 1, 1) * (1.0 / scale) for value in (mean, std))  # each (3, 1, 1)
        return (frames.float() - mean) / std


def videos_need_torchvision() -> DependencyError:
    """The error for a video whose pixels only torchvision makes: names the matching release."""
    minor = int(torch.__version__.split(".")[1]) + 15  # torch 2.n belongs to torchvision 0.(n + 15)
    what = "Missing torchvision: the host's video processor needs it, and it does not load."
    got, image = f"torch {torch.__version__} alone", '{"type": "image", "image": frame, "clip": "a"}'
    fix = f'pip install --no-deps "torchvision==0.{minor}.*"; or pass images of one clip: {image}'
    return DependencyError(what, got=got, expected=f"torchvision 0.{minor}", fix=fix)
