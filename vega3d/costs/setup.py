"""Settings of an estimate, validated. Imports no torch.

Settings of the generator may be given as text (``noise_samples=4``), as on the command line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vega3d import registry
from vega3d._utils import checks
from vega3d.backbones.base import Device
from vega3d.config import FusionConfig, Vega3DConfig
from vega3d.errors import ConfigError
from vega3d.settings import with_overrides

Medium = Literal["video", "images"]
ALL = ("all",)  # every mode that the weights can run
MAX_PIXELS = 768 * 28 * 28  # of a video's frame, in transformers and qwen-vl-utils


@dataclass(frozen=True)
class Setup:
    """A host with a generator, and the clips to estimate.

    Attributes:
        host: ``3b``, ``7b``, ``32b``, ``72b`` for Qwen2.5-VL, or a folder or hub id with a config.json.
        wan: weights of the generator if ``config`` has no path: ``t2v-1.3b``, ``t2v-14b``, ``vace-1.3b``,
            ``vace-14b``, or a folder or hub id.
        frames: numbers of frames that the host gets; one estimate for each.
        modes: modes of the generator, or ``("all",)``; empty takes the config's, or the first that fits.
        config: settings of the generator, of any registered backbone.
        fusion: settings of the fusion; its projector is trained.
        size: width and height of a decoded frame, in pixels.
        medium: ``video`` gives the host one video, ``images`` so many images.
        text: number of tokens of the prompt around the clip.
        max_pixels: largest area of a frame after the resize of the host's processor, in pixels.
        rank: rank of LoRA.
        gpus: number of GPUs of a training run.
        device: kind of device of the generator; it sets the default micro-batch.

    Raises:
        ConfigError: a value is invalid.
    """

    host: str = "7b"
    wan: str = "t2v-1.3b"
    frames: tuple[int, ...] = (8, 16, 32)
    modes: tuple[str, ...] = ()
    config: Any = field(default_factory=lambda: replace(Vega3DConfig().backbone, dtype="bfloat16"))
    fusion: FusionConfig = field(default_factory=FusionConfig)
    size: tuple[int, int] = (640, 480)
    medium: Medium = "video"
    text: int = 64
    max_pixels: int = MAX_PIXELS
    rank: int = 64
    gpus: int = 8
    device: Device = "cuda"

    def __post_init__(self) -> None:
        checks.require_choices(self)
        checks.require_at_least(self, 1, "frames", "size", "text", "max_pixels", "rank", "gpus")

    def generator(self) -> Any:
        """Settings of the generator, with the path of the weights filled in."""
        return replace(self.config, path=self.config.path or self.wan)


def with_settings(config: Any, settings: Iterable[str]) -> Any:
    """Change fields of a backbone's config by ``key.sub=value``.

    ``type=NAME`` takes the settings of another registered backbone, with the same ``path``.

    Raises:
        ConfigError: no such backbone, no such field, or no such value.
    """
    words = list(settings)
    kinds = [word.partition("=")[2] for word in words if word.startswith("type=")]
    if kinds and kinds[-1] != registry.backbone_name(config):
        config = registry.backbone_config_class(kinds[-1])(path=config.path)
    return with_overrides(config, [word for word in words if not word.startswith("type=")])


def size_of(text: str) -> tuple[int, int]:
    """Parse a width and height such as ``640x480``.

    Raises:
        ConfigError: the text is not a size.
    """
    width, times, height = text.lower().partition("x")
    if not (times and width.isdecimal() and height.isdecimal()):
        expected, fix = "width and height in pixels", "for example 640x480"
        raise ConfigError(f"Invalid picture size {text!r}.", got=text, expected=expected, fix=fix)
    return int(width), int(height)
