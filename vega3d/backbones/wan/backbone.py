"""WanBackbone: decoded frames in, feature maps out.

Frames run in micro-batches of one fixed size, the last one padded, so that a feature never depends on
what else was in the batch: bit-equal for the same device kind, thread count, library versions and
dtype. Frames of several clips share a micro-batch where their pictures have one size.

It is a plain object, not an ``nn.Module``: frozen, shared by copies of a model, in no state dict.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from diffusers.utils.constants import DIFFUSERS_ATTN_BACKEND
from torch import Tensor

from vega3d.backbones import BackboneSpec
from vega3d.backbones.diffusion import add_noise, content_noise, schedule, shared_noise
from vega3d.backbones.wan import dit, flops, picture, prompt, vae, weights
from vega3d.config import DType, WanConfig
from vega3d.errors import BackboneError, unknown_choice
from vega3d.grid import FeatureMap

if TYPE_CHECKING:
    from vega3d.video import FramePlan

CODE_VERSION = 1  # raise it whenever the same settings start to give other features


class WanBackbone:
    """A frozen Wan2.1, run for one noisy step, as an encoder of frames.

    Args:
        transformer: diffusers' ``WanTransformer3DModel`` with the blocks that are needed.
        autoencoder: diffusers' ``AutoencoderKLWan``; only its encoder is used.
        prompt_embeds: (m, text_dim), the non-pad tokens of the prompt.
        config: settings.
    """

    config_class: ClassVar[type] = WanConfig

    def __init__(self, transformer: Any, autoencoder: Any, prompt_embeds: Tensor, config: WanConfig) -> None:
        settings = transformer.config
        channels = settings.num_attention_heads * settings.attention_head_dim
        _require_block(config.block, len(transformer.blocks))
        self.dit = transformer.eval().requires_grad_(False)
        self.vae = autoencoder.eval().requires_grad_(False)
        self.dit.condition_embedder.timesteps_proj = dit.Sinusoid(settings.freq_dim)
        self.prompt_embeds = prompt.require_fitting(prompt_embeds, settings.text_dim)
        self.config = dataclasses.replace(config, channels=channels)
        self._digest: str | None = None

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        config: WanConfig | None = None,
        prompt_embeds: Tensor | None = None,
        dtype: torch.dtype | str | None = None,
        device: str | torch.device | None = None,
    ) -> WanBackbone:
        """Load the blocks up to ``config.block`` and the VAE's encoder.

        Args:
            path: a diffusers folder, an original Wan folder, or a hub id.
            config: settings; the default is the paper's.
            prompt_embeds: (m, text_dim) non-pad tokens; None looks beside the weights, then in the cache.
            dtype: float32 or bfloat16 for the DiT; None takes ``config.dtype``.
            device: None takes a GPU if there is one.

        Raises:
            BackboneError: nothing is there, a block does not exist, or the prompt's embedding is missing.
            CheckpointError: a file is missing, damaged, or a pickle.
        """
        config = config or WanConfig()
        if dtype is not None:
            config = dataclasses.replace(config, dtype=_dtype_name(dtype))
        folder = weights.find_folder(path, config.revision)
        transformer = weights.load_transformer(folder, config.block + 1, getattr(torch, config.dtype))
        if prompt_embeds is None:
            prompt_embeds = prompt.find_prompt_embeds(path, folder, transformer.config.text_dim)
        settings = dataclasses.replace(config, path=str(path))
        backbone = cls(transformer, weights.load_vae(folder), prompt_embeds, settings)
        return backbone.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def to(self, device: str | torch.device) -> WanBackbone:
        """Move to a device, in place."""
        self.dit.to(device)
        self.vae.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        device: torch.device = self.dit.patch_embedding.weight.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the DiT."""
        dtype: torch.dtype = self.dit.patch_embedding.weight.dtype
        return dtype

    @property
    def attention(self) -> str:
        """The attention back end that the DiT uses, by diffusers' name (``native`` is torch's SDPA)."""
        own = getattr(self.dit.blocks[0].attn1.processor, "_attention_backend", None)
        return str(getattr(own, "value", own or DIFFUSERS_ATTN_BACKEND))

    @property
    def micro_batch(self) -> int:
        """Frames in one forward."""
        return self.config.micro_batch or (1 if self.device.type == "cpu" else 8)

    @property
    def spec(self) -> BackboneSpec:
        """Name, width and settings."""
        assert self.config.channels is not None
        return BackboneSpec("wan", self.config.channels, self.config)

    def __deepcopy__(self, memo: dict[int, Any]) -> WanBackbone:
        return self  # frozen: copies of a model share it

    # ---------------------------------------------------------------- encoding

    def __call__(
        self, frames: Tensor | Sequence[Tensor], plan: FramePlan | Sequence[FramePlan] | None = None
    ) -> list[FeatureMap]:
        """Encode clips, each frame as a one-frame video of its own (mode ``frame``).

        Args:
            frames: one clip (T, 3, H, W) or a sequence of clips: uint8, or float in [0, 1].
            plan: not needed in this mode.

        Returns:
            For each clip (C, T, h, w) float32 with one step a frame.
        """
        clips = [frames] if isinstance(frames, Tensor) else list(frames)
        single = [frame for clip in clips for frame in picture.require_frames(clip)]  # (3, H, W) each
        maps: list[Tensor | None] = [None] * len(single)
        sizes = [picture.tower_size(frame.shape[-2], frame.shape[-1], self.config) for frame in single]
        for size in dict.fromkeys(sizes):
            places = [place for place, other in enumerate(sizes) if other == size]
            for place, one in zip(places, self._encode([single[p] for p in places]), strict=True):
                maps[place] = one
        whole = iter(one for one in maps if one is not None)
        resampling = "bilinear" if self.config.picture == "reference" else "area"
        return [
            FeatureMap(
                torch.stack([next(whole) for _ in clip], dim=1),  # (C, T, h, w)
                tuple((step,) for step in range(len(clip))),
                resampling,  # type: ignore[arg-type]
            )
            for clip in clips
        ]

    def _encode(self, frames: list[Tensor]) -> Tensor:
        """Frames whose pictures have one size: (N, C, h, w) float32."""
        latents = self.latents(torch.stack([self.prepare(frame) for frame in frames]))
        noise = torch.stack([self._noise(frame, latents.shape[1:]) for frame in frames])
        tokens = self.hidden_states(latents, noise=noise)[self.config.block]  # (N, h * w, C)
        rows, columns = latents.shape[-2] // 2, latents.shape[-1] // 2
        return tokens.float().transpose(1, 2).reshape(len(frames), -1, rows, columns)

    def prepare(self, frame: Tensor) -> Tensor:
        """One decoded frame (3, H0, W0) as the tower's picture (3, H, W), float32 in [0, 1]."""
        checked = picture.require_frames(frame[None])[0]
        return picture.prepare(checked.to(self.device), self.config)

    @torch.no_grad()
    def latents(self, frames: Tensor) -> Tensor:
        """Normalised latents of pictures at tower size.

        Args:
            frames: (N, 3, H, W), or a clip (1, 3, T, H, W); float32 in [0, 1].

        Returns:
            (N, 16, 1, H/8, W/8), or (1, 16, T', H/8, W/8).
        """
        pictures = frames.unsqueeze(2) if frames.ndim == 4 else frames  # (N, 3, T, H, W)
        vae.require_pictures(pictures)
        return self._in_micro_batches(
            lambda part: vae.encode(self.vae, part), pictures.float().to(self.device)
        )

    @torch.no_grad()
    def hidden_states(
        self,
        latents: Tensor,
        *,
        sigma: float | None = None,
        timestep: float | None = None,
        noise: Tensor | None = None,
        blocks: Collection[int] | None = None,
    ) -> dict[int, Tensor]:
        """Residual stream after blocks, of latents noised to ``sigma``.

        Args:
            latents: (N, 16, T, h, w).
            sigma: noise level in 0..1; None takes the config's schedule.
            timestep: what the DiT is told; None is 1000 sigma.
            noise: of the latents' shape; None draws one for all, from the config's seed.
            blocks: zero-based; None is the config's block.

        Returns:
            {block: (N, T * h/2 * w/2, C)} in the DiT's dtype, raster order, time outermost.

        Raises:
            BackboneError: a block was not kept.
        """
        blocks = sorted(set(blocks)) if blocks is not None else [self.config.block]
        for block in blocks:
            _require_block(block, len(self.dit.blocks))
        if sigma is None:
            told, sigma = schedule(self.config.sigma, self.config.schedule)
        else:
            told = 1000.0 * sigma
        condition = dit.embed_condition(
            self.dit, self.prompt_embeds.to(self.device), told if timestep is None else timestep
        )
        if noise is None:
            noise = shared_noise(self.config.seed, latents.shape[1:]).expand(latents.shape)
        noisy = add_noise(latents, noise, sigma).to(self.device)

        def run(part: Tensor) -> Tensor:
            kept = dit.residual_stream(self.dit, part, condition, blocks)
            return torch.stack([kept[block] for block in blocks], dim=1)  # (n, blocks, L, C)

        states = self._in_micro_batches(run, noisy)
        return {block: states[:, place] for place, block in enumerate(blocks)}

    def _noise(self, frame: Tensor, shape: Sequence[int]) -> Tensor:
        if self.config.noise == "shared":
            return shared_noise(self.config.seed, shape)
        return content_noise(self.config.seed, frame, shape)

    def _in_micro_batches(self, run: Callable[[Tensor], Tensor], batch: Tensor) -> Tensor:
        """Run on parts of exactly ``micro_batch`` rows; the last part is filled with its last row."""
        size, done = self.micro_batch, []
        for first in range(0, len(batch), size):
            part = batch[first : first + size]
            filled = torch.cat([part, part[-1:].expand(size - len(part), *part.shape[1:])])
            done.append(run(filled.contiguous())[: len(part)])
        return torch.cat(done)

    # ---------------------------------------------------------------- identity and cost

    def fingerprint(self) -> str:
        """Hex digest of everything that must match for two features to be the same."""
        if self._digest is None:
            self._digest = _digest(self.dit) + _digest(self.vae) + _digest_of([self.prompt_embeds])
        free = ("path", "revision", "micro_batch")
        settings = {k: v for k, v in dataclasses.asdict(self.config).items() if k not in free}
        parts = f"{CODE_VERSION} {sorted(settings.items())} {self.micro_batch} {self.dtype} {self._digest}"
        return hashlib.sha256(parts.encode()).hexdigest()

    def flops(self, height: int, width: int, frames: int = 1) -> float:
        """Floating-point operations (2 a multiply-add) for decoded frames of height x width pixels."""
        rows, columns = picture.tower_size(height, width, self.config)
        settings, coder = self.dit.config, self.vae.config
        width_ = settings.num_attention_heads * settings.attention_head_dim
        one = flops.vae_flops(
            rows,
            columns,
            base=coder.base_dim,
            multiples=coder.dim_mult,
            residuals=coder.num_res_blocks,
            z=coder.z_dim,
        )
        one += flops.dit_flops(
            rows, columns, channels=width_, feed_forward=settings.ffn_dim, blocks=self.config.block + 1
        )
        once = flops.condition_flops(channels=width_, text_dim=settings.text_dim, freq_dim=settings.freq_dim)
        return frames * one + once


def _require_block(block: int, kept: int) -> None:
    if not 0 <= block < kept:
        raise BackboneError(
            f"Block {block} was not loaded.",
            got=f"block {block}",
            expected=f"a zero-based index in 0..{kept - 1}: only the blocks that are run are kept",
            fix=f"load with WanConfig(block={block}) or higher",
        )


def _dtype_name(dtype: torch.dtype | str) -> DType:
    names: dict[str, DType] = {"float32": "float32", "bfloat16": "bfloat16"}
    name = str(dtype).removeprefix("torch.")
    if name not in names:
        raise unknown_choice("dtype", name, names)
    return names[name]


def _digest(module: Any) -> str:
    state = module.state_dict()
    return _digest_of([state[name] for name in sorted(state)])


def _digest_of(tensors: Sequence[Tensor]) -> str:
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
