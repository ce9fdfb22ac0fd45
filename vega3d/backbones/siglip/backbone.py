"""SiglipBackbone: decoded frames in, feature maps out, one step a frame.

Each whole frame is stretched to the square that the tower was trained on, as in the checkpoint's own
preprocessing. Positions in a map are fractions of the picture, so the aspect need not be kept. Frames run in
micro-batches of one fixed size, the last one padded, so that a feature depends on its frame and the settings
alone. It is bit-equal for the same device kind, thread count, library versions and dtype.

The patches of a tower need not fill its picture: 384 pixels are 27 patches of 14 and 6 pixels in no patch.
The map's ``extent`` gives the covered part. Without it, positions would be off by 1.6 % at the far edge.

It is a plain object, not an ``nn.Module``: frozen, shared by copies of a model, in no state dict. The network
is transformers' own.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vega3d.backbones.base import BackboneSpec
from vega3d.backbones.frames import require_frames, unit
from vega3d.backbones.loading import dtype_name
from vega3d.backbones.micro_batch import in_micro_batches
from vega3d.backbones.siglip import weights
from vega3d.backbones.siglip.config import SiglipConfig
from vega3d.backbones.siglip.weights import Preprocessing
from vega3d.errors import BackboneError
from vega3d.grid import FeatureMap

if TYPE_CHECKING:
    from vega3d.media.frame_plan import FramePlan

CODE_VERSION = 1  # raise it whenever the same settings start to give other features


class SiglipBackbone:
    """A frozen SigLIP vision tower.

    Made by ``from_pretrained``, or from a loaded tower. The pooling head and the blocks after the feature's
    layer are not kept.

    Args:
        tower: transformers' ``SiglipVisionModel``.
        config: settings; the default takes the last layer.
        preprocessing: of the checkpoint; the default is SigLIP's.

    Raises:
        BackboneError: the tower has no such layer.
    """

    config_class: ClassVar[type] = SiglipConfig

    def __init__(
        self, tower: Any, config: SiglipConfig | None = None, preprocessing: Preprocessing | None = None
    ) -> None:
        config, self.shape = config or SiglipConfig(), tower.config
        layers = self.shape.num_hidden_layers
        if layers + 1 + config.layer < 0:
            raise BackboneError(
                f"Invalid layer {config.layer}: it does not exist in this tower.",
                got=f"layer={config.layer}; the tower has {layers} blocks",
                expected=f"-1 (all blocks and the final norm) to {-1 - layers} (before the first block)",
                fix="use -1, or -2 as LLaVA does",
            )
        dtype = dtype_name(tower.dtype)
        self.config = dataclasses.replace(config, channels=self.shape.hidden_size, dtype=dtype)
        self.preprocessing = preprocessing or Preprocessing()
        tower.eval().requires_grad_(False)
        blocks = tower.encoder.layers[: layers + 1 + config.layer]  # -1: all of them, -2: all but the last
        for block in blocks:
            block.mlp.activation_fn = _EachFrame(block.mlp.activation_fn)
        norm = tower.post_layernorm if config.layer == -1 else nn.Identity()
        self.parts: Any = nn.ModuleDict({"embeddings": tower.embeddings, "blocks": blocks, "norm": norm})
        self._digest: str | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        config: SiglipConfig | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | str | None = None,
    ) -> SiglipBackbone:
        """Load a tower.

        Args:
            path: folder or hub id of a ``SiglipModel`` or ``SiglipVisionModel``.
            config: settings; the default takes the last layer.
            device: None takes a GPU if there is one.
            dtype: float32 or bfloat16; None takes ``config.dtype``.

        Raises:
            BackboneError: there are no weights at ``path``, they are not a SigLIP's, or the layer does not
                exist.
            CheckpointError: a file or tensor is missing, damaged, or a pickle.
        """
        config = dataclasses.replace(config or SiglipConfig(), path=str(path))
        if dtype is not None:
            config = dataclasses.replace(config, dtype=dtype_name(dtype))
        folder = weights.find_folder(path, config.revision)
        tower = weights.load_tower(folder).to(getattr(torch, config.dtype))
        backbone = cls(tower, config, weights.load_preprocessing(folder, tower.config.image_size))
        return backbone.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def spec(self) -> BackboneSpec:
        """Name, width and settings."""
        assert self.config.channels is not None
        return BackboneSpec("siglip", self.config.channels, self.config)

    def __deepcopy__(self, memo: dict[int, Any]) -> SiglipBackbone:
        return self  # frozen: copies of a model share it

    def to(self, device: str | torch.device) -> Self:
        """Move to a device, in place."""
        self.parts.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Device of the tower."""
        device: torch.device = self.parts["embeddings"].patch_embedding.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the tower."""
        dtype: torch.dtype = self.parts["embeddings"].patch_embedding.weight.dtype
        return dtype

    @property
    def attention(self) -> str:
        """The attention back end, by transformers' name."""
        return str(self.shape._attn_implementation or "eager")

    @property
    def micro_batch(self) -> int:
        """Frames in one forward."""
        return self.config.micro_batch or (1 if self.device.type == "cpu" else 8)

    @property
    def side(self) -> int:
        """Patches on one side of the map."""
        return int(self.shape.image_size // self.shape.patch_size)

    # ---------------------------------------------------------------- encoding

    @torch.no_grad()
    def __call__(
        self, frames: Tensor | Sequence[Tensor], plan: FramePlan | Sequence[FramePlan] | None = None
    ) -> list[FeatureMap]:
        """Encode clips, each frame alone.

        Args:
            frames: one clip (T, 3, H, W) or a sequence of clips: uint8, or float in [0, 1].
            plan: part of the protocol; it has no effect here, since each frame is encoded alone.

        Returns:
            For each clip (C, T, h, w) float32, one step a frame.

        Raises:
            InputError: frames cannot be used.
        """
        clips = [require_frames(clip) for clip in ([frames] if isinstance(frames, Tensor) else frames)]
        frames = [frame for clip in clips for frame in clip]
        tokens = in_micro_batches(frames, self.micro_batch, self.hidden_states, self._prepared)
        maps = tokens.transpose(1, 2).reshape(len(tokens), -1, self.side, self.side)  # (frames, C, h, w)
        covered = self.side * self.shape.patch_size / self.shape.image_size
        extent = (0.0, 0.0, covered, covered)
        return [
            FeatureMap(
                features.transpose(0, 1).contiguous(),
                tuple((frame,) for frame in range(len(features))),
                extent=extent,
            )
            for features in torch.split(maps, [len(clip) for clip in clips])
        ]

    def _prepared(self, frames: Sequence[Tensor]) -> Tensor:
        return torch.stack([self.prepare(frame) for frame in frames])

    def prepare(self, frame: Tensor) -> Tensor:
        """Turn a decoded frame (3, H, W), uint8 or float in [0, 1], into the tower's (3, side, side)."""
        picture, side = unit(frame.to(self.device))[None], self.shape.image_size
        if picture.shape[2:] != (side, side):
            kernel = self.preprocessing.kernel
            picture = F.interpolate(picture, (side, side), mode=kernel, align_corners=False, antialias=True)
        mean, std = (
            picture.new_tensor(values).view(3, 1, 1)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        return (picture[0].clamp(0.0, 1.0) - mean) / std  # bicubic overshoots at sharp edges

    @torch.no_grad()
    def hidden_states(self, pictures: Tensor) -> Tensor:
        """Encode prepared pictures (N, 3, side, side) to tokens (N, h * w, C) float32, raster order."""
        stream = self.parts["embeddings"](pictures)
        for block in self.parts["blocks"]:
            stream = block(stream, None)
        tokens: Tensor = self.parts["norm"](stream).float()
        return tokens

    def fingerprint(self) -> str:
        """Hex digest of everything that must match for two features to be the same."""
        if self._digest is None:
            total = hashlib.sha256()
            for name, tensor in sorted(self.parts.state_dict().items()):
                total.update(name.encode() + tensor.cpu().contiguous().view(torch.uint8).numpy().tobytes())
            self._digest = total.hexdigest()
        parts = (CODE_VERSION, self.config.layer, self.dtype, self.micro_batch, self.preprocessing)
        return hashlib.sha256(f"siglip {parts} {self._digest}".encode()).hexdigest()


class _EachFrame(nn.Module):
    """An activation that runs frame by frame on a CPU.

    A CPU rounds the last few numbers of a tensor, and of each thread's part of it, differently. A feature
    would depend on its index in the micro-batch.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, stream: Tensor) -> Tensor:
        if stream.device.type != "cpu" or len(stream) == 1:
            result: Tensor = self.activation(stream)
            return result
        return torch.stack([self.activation(frame) for frame in stream])
