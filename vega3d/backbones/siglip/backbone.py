"""SiglipBackbone: decoded frames in, feature maps out, one step a frame.

Each whole frame is stretched to the square that the tower was trained on, as in the checkpoint's own
preprocessing. Positions in a map are fractions of the picture, so the aspect need not be kept. Frames run in
micro-batches of one fixed size, the last one padded, so that a feature depends on its frame and the settings
alone. It is bit-equal for the same device kind, thread count, library versions and dtype. The network is
transformers' own.

The patches of a tower need not fill its picture: 384 pixels are 27 patches of 14 and 6 pixels in no patch.
The map's ``extent`` gives the covered part. Without it, positions would be off by 1.6 % at the far edge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vega3d._utils import hub
from vega3d.backbones.frames import in_micro_batches, require_frames, unit
from vega3d.backbones.frozen import FrozenEncoder, digest_of, dtype_name, with_source
from vega3d.backbones.siglip import weights
from vega3d.backbones.siglip.config import SiglipConfig
from vega3d.backbones.siglip.weights import Preprocessing
from vega3d.errors import BackboneError
from vega3d.grid import FeatureMap
from vega3d.media.frame_plan import FramePlan

CODE_VERSION = 1  # raise it whenever the same settings start to give other features


class SiglipBackbone(FrozenEncoder):
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

    name = "siglip"
    config_class: ClassVar[type] = SiglipConfig

    def __init__(
        self, tower: Any, config: SiglipConfig | None = None, preprocessing: Preprocessing | None = None
    ) -> None:
        config, self.shape = config or SiglipConfig(), tower.config
        layers = self.shape.num_hidden_layers
        if layers + 1 + config.layer < 0:
            title = f"Invalid layer {config.layer}: it does not exist in this tower."
            expected = f"-1 (all blocks and the final norm) to {-1 - layers} (before the first block)"
            got, fix = f"layer={config.layer}; the tower has {layers} blocks", "use -1, or -2 as LLaVA does"
            raise BackboneError(title, got=got, expected=expected, fix=fix)
        self.config = replace(config, channels=self.shape.hidden_size, dtype=dtype_name(tower.dtype))
        self.preprocessing = preprocessing or Preprocessing()
        tower.eval().requires_grad_(False)
        blocks = tower.encoder.layers[: layers + 1 + config.layer]  # -1: all of them, -2: all but the last
        for block in blocks:
            block.mlp.activation_fn = _EachFrame(block.mlp.activation_fn)
        norm = tower.post_layernorm if config.layer == -1 else nn.Identity()
        self.parts: Any = nn.ModuleDict({"embeddings": tower.embeddings, "blocks": blocks, "norm": norm})
        self.modules, self.patch_embedding = (self.parts,), tower.embeddings.patch_embedding
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
        config = with_source(config or SiglipConfig(), path, dtype)
        expected = weights.LAYOUTS
        folder = hub.find_folder(
            path, config.revision, weights.PATTERNS, error=BackboneError, what="SigLIP", expected=expected
        )
        tower = weights.load_tower(folder).to(getattr(torch, config.dtype))
        return cls(tower, config, weights.load_preprocessing(folder, tower.config.image_size)).to(device)

    @property
    def attention(self) -> str:
        """The attention back end, by transformers' name."""
        return str(self.shape._attn_implementation or "eager")

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
        steps = [tuple((frame,) for frame in range(len(clip))) for clip in clips]
        return [
            FeatureMap(features.transpose(0, 1).contiguous(), described, extent=(0.0, 0.0, covered, covered))
            for features, described in zip(torch.split(maps, list(map(len, clips))), steps, strict=True)
        ]

    def _prepared(self, frames: Sequence[Tensor]) -> Tensor:
        return torch.stack([self.prepare(frame) for frame in frames])

    def prepare(self, frame: Tensor) -> Tensor:
        """Turn a decoded frame (3, H, W), uint8 or float in [0, 1], into the tower's (3, side, side)."""
        picture, side = unit(frame.to(self.device))[None], self.shape.image_size
        if picture.shape[2:] != (side, side):
            kernel = self.preprocessing.kernel
            picture = F.interpolate(picture, (side, side), mode=kernel, align_corners=False, antialias=True)
        scale = (self.preprocessing.mean, self.preprocessing.std)
        mean, std = (picture.new_tensor(values).view(3, 1, 1) for values in scale)
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
            state = sorted(self.parts.state_dict().items())
            self._digest = digest_of(part for name, tensor in state for part in (name.encode(), tensor))
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
