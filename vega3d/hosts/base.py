"""Base of a host family, and the search for the family of a host or of its processor.

The host itself is never changed. A family describes it: the grid and the width of its visual tokens, the
calls of its own encoders, the sizes that its processor takes, and the layers that LoRA trains.
"""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

import vega3d._utils.torchvision  # noqa: F401  (before transformers)

# isort: split
import transformers
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from vega3d import registry
from vega3d.errors import HostError
from vega3d.grid import TokenGrid

if TYPE_CHECKING:
    from vega3d.inputs.messages import Limits

Modality = Literal["image", "video"]
MODALITIES: tuple[Modality, ...] = ("image", "video")
NEEDED_TRANSFORMERS = "5.21"


class HostFamily(Protocol):
    """Interface between the adapter or processor and a family of hosts; methods with a body are defaults."""

    lora_targets: str
    """Regular expression of module names, for ``LoraConfig(target_modules=...)``."""
    turn_tokens: tuple[str, str] = ("<|im_start|>", "<|im_end|>")
    """Special tokens around each turn; the first is followed by the role and a line break (ChatML)."""
    unquantized: tuple[str, ...] = ("visual", "lm_head")
    """Modules that stay as they are in a host in 4 bits (QLoRA)."""
    max_aspect: float = math.inf
    """Largest ratio of the longer side of a picture to the shorter one that the processor takes."""
    min_pixels: Mapping[Modality, int] = {"image": 0, "video": 0}
    """Smallest area of a picture, or of a frame of a video, after the processor's resize."""
    needs_times: bool = True
    """True if the host's inputs depend on the times of a video's frames."""
    video_processor: str | None = None
    """Class of transformers whose video pixels torch makes without torchvision; None if it cannot."""
    video_defaults: Mapping[str, Any] = {}
    """Settings of that class that the host's files may leave out."""

    def language_model(self, host: Any) -> nn.Module:
        """The language model without its head; recipes train or adapt it."""

    def vision_tower(self, host: Any) -> nn.Module:
        """The vision tower with its merger; it is frozen in every recipe."""

    def temporal_patch(self, config: Any) -> int:
        """Frames of a video that share one time step of tokens."""

    def grids(
        self, config: Any, modality: Modality, grid_thw: Tensor, frames: Sequence[int]
    ) -> list[TokenGrid]:
        """Token grids of all items of one modality; ``frames`` holds the number of frames of each item."""

    def width(self, config: Any) -> int:
        """D, the width of the language model's tokens."""
        return int(config.get_text_config().hidden_size)

    def encode(self, host: Any, modality: Modality, pixels: Tensor, grid_thw: Tensor) -> Any:
        """The host's own features, as an output whose ``pooler_output`` is one (n_tokens, D) an item."""
        call = host.get_image_features if modality == "image" else host.get_video_features
        return call(pixels, grid_thw, return_dict=True)

    def token_types(self, config: Any, input_ids: Tensor) -> Tensor:
        """``mm_token_type_ids`` derived from (B, L) token ids: 0 text, 1 image, 2 video."""
        types = torch.zeros_like(input_ids)
        types[input_ids == config.image_token_id] = 1
        types[input_ids == config.video_token_id] = 2
        return types

    def fitted_size(self, size: tuple[int, int], factor: int, low: int, high: int) -> tuple[int, int]:
        """Height and width of a picture after the processor's resize.

        Args:
            size: height and width before it.
            factor: number of which both sides are multiples.
            low: smallest area in pixels.
            high: largest area in pixels.

        Raises:
            ValueError: the processor refuses a picture of that shape.
        """
        height, width = smart_resize(*size, factor, low, high)
        return height, width

    def picture_size(self, size: Mapping[str, int], limits: Limits) -> dict[str, int]:
        """``size`` of the image processor under limits of one picture.

        A limit that is not given is the processor's own ``size``, moved only if the two cross.
        """
        low = limits.min_pixels or min(size["shortest_edge"], limits.max_pixels or math.inf)
        high = limits.max_pixels or max(size["longest_edge"], limits.min_pixels or 0)
        return {"shortest_edge": int(low), "longest_edge": int(high)}

    def video_size(self, size: Mapping[str, int], limits: Limits, frames: int, merged: int) -> dict[str, Any]:
        """Keywords of the video processor under limits of one video; here its ``size`` bounds each frame.

        Args:
            size: the processor's own.
            limits: areas of one frame, and the budget of the video.
            frames: number of frames of the video.
            merged: number of frames that share one time step.
        """
        low, high = self.picture_size(size, limits).values()
        if limits.total_pixels is not None:
            high = max(min(high, limits.total_pixels * merged // frames), int(low * 1.05))
        return {"size": {"shortest_edge": low, "longest_edge": high}}

    def fitted_video(
        self, shape: tuple[int, int, int], factor: int, merged: int, area: tuple[int, int], tokens: int | None
    ) -> tuple[int, int]:
        """Height and width of a video's frames after the processor's resize; here as for a picture.

        Args:
            shape: number of frames, height and width before it.
            factor: number of which both sides are multiples.
            merged: number of frames that share one time step.
            area: smallest and largest area of the processor's ``size``.
            tokens: its ``max_video_tokens``; None if ``cap_pixels_per_frame`` is off.
        """
        low, high = area
        if tokens is not None:  # 90 % of the context is for the video; each frame gets an even share of it
            high = max(min(high, int(tokens * factor**2 * 0.9) * merged // shape[0]), int(low * 1.05))
        return self.fitted_size(shape[1:], factor, low, high)


def family_of(host: Any) -> HostFamily:
    """Find the family of a host by its ``config.model_type``.

    Raises:
        HostError: no family is registered for it, it is a PeftModel, or it does not take pre-encoded media.
    """
    if hasattr(host, "get_base_model") and hasattr(host, "peft_config"):
        title = "Invalid host: a PeftModel, whose LoRA weights would be neither saved nor loaded again."
        fix = "get_peft_model(adapter, ...) after wrapping; trained LoRA: host.load_adapter(folder) before it"
        raise HostError(title, got=type(host).__name__, expected="the model itself", fix=fix)
    model_type = getattr(getattr(host, "config", None), "model_type", type(host).__name__)
    known = registry.names("hosts")
    if model_type not in known:
        title = f"Unknown host: no family is registered for model type {model_type!r}."
        expected = f"a model of one of the types {', '.join(known)}"
        fix = "wrap one of these, or register a family under the entry-point group 'vega3d.hosts'"
        raise HostError(title, got=type(host).__name__, expected=expected, fix=fix)
    if "mm_encoder_outputs" not in inspect.signature(host.forward).parameters:
        title = f"Invalid host {type(host).__name__}: its forward does not take mm_encoder_outputs."
        expected = f"a class of transformers >= {NEEDED_TRANSFORMERS} that takes pre-encoded media"
        got = f"transformers {transformers.__version__}"
        fix = f"pip install 'transformers>={NEEDED_TRANSFORMERS}' and load the host with its own class"
        raise HostError(title, got=got, expected=expected, fix=fix)
    family: HostFamily = registry.resolve("hosts", model_type)()
    return family


def family_of_processor(processor: Any, model_type: str | None = None) -> HostFamily:
    """Find the family of a host's processor: that of ``model_type``, or of the processor's class.

    Classes stand in transformers' own table. Any other class is taken for Qwen2.5-VL's.
    """
    known, kind = registry.names("hosts"), type(processor).__name__
    types = (name for name in known if PROCESSOR_MAPPING_NAMES.get(name) == kind)
    named = model_type if model_type in known else next(types, "qwen2_5_vl")
    family: HostFamily = registry.resolve("hosts", named)()
    return family


def unwrapped(host: nn.Module) -> nn.Module:
    """Take the module out of ``torch.compile(host)``; any other host is returned as it is.

    The compiled wrapper covers ``forward`` only: ``generate`` bypasses it, and it renames every weight.
    """
    inner = getattr(host, "_orig_mod", None)
    if not isinstance(inner, nn.Module):
        return host
    message = (
        "The host is unwrapped from torch.compile(host). Use host.compile(), which compiles it in place."
    )
    warnings.warn(message, stacklevel=3)
    return inner
