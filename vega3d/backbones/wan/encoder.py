"""WanEncoder: pictures at tower size to latents, latents to the residual stream after a block.

It holds modules, devices, constants and micro-batches. Decoded frames, plans and feature maps belong to
``backbone``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from diffusers.utils.constants import DIFFUSERS_ATTN_BACKEND
from torch import Tensor

from vega3d._utils import moved
from vega3d.backbones.diffusion import add_noise, schedule, shared_noise
from vega3d.backbones.frames import in_micro_batches
from vega3d.backbones.frozen import FrozenEncoder
from vega3d.backbones.wan import dit, prompt, vace, vae
from vega3d.backbones.wan.config import WanConfig
from vega3d.backbones.wan.weights import require_block
from vega3d.errors import ConfigError

__getattr__ = moved.names(__name__, {"WanTower": "vega3d.backbones.wan.encoder:WanEncoder"})

GRIDS = 32  # latent sizes whose rotary positions are kept


@dataclass(frozen=True)
class _Constants:
    """Constants of a timestep and the prompt, for the main blocks and for a VACE's control blocks."""

    timestep: float
    main: list[dit.BlockConstants]
    control: list[dit.BlockConstants]


class WanEncoder(FrozenEncoder):
    """A frozen Wan2.1 for one noisy step.

    Args:
        transformer: diffusers' ``WanTransformer3DModel`` or ``WanVACETransformer3DModel``, with all blocks up
            to ``config.block``.
        autoencoder: diffusers' ``AutoencoderKLWan``; only its encoder is used.
        prompt_embeds: (m, text_dim), the non-pad tokens of the prompt.
        config: settings.

    Raises:
        BackboneError: the block is missing, or the mode does not fit the weights.
        ConfigError: the attention back end cannot be used.
    """

    name = "wan"
    config: WanConfig

    def __init__(self, transformer: Any, autoencoder: Any, prompt_embeds: Tensor, config: WanConfig) -> None:
        settings = transformer.config
        channels = settings.num_attention_heads * settings.attention_head_dim
        require_block(config.block, len(transformer.blocks), "the loaded transformer")
        vace.require_kind(config.mode, hasattr(transformer, "vace_blocks"))
        self.dit = transformer.eval().requires_grad_(False)
        self.vae = autoencoder.eval().requires_grad_(False)
        self.plane = vae.PlaneEncoder(self.vae)
        self.modules, self.patch_embedding = (self.dit, self.vae, self.plane), self.dit.patch_embedding
        self.prompt_embeds = prompt.require_fitting(prompt_embeds, settings.text_dim)
        self.config = replace(config, channels=channels)
        if config.attention is not None:
            _use_attention(self.dit, config.attention)
        self._digest: str | None = None
        self._forget()

    def _forget(self) -> None:
        """Drop the constants of a device and its picture sizes."""
        self._kept: _Constants | None = None
        self._rotary: dict[torch.Size, Tensor] = {}
        self._blank: dict[torch.Size, Tensor] = {}

    def to(self, device: str | torch.device | None) -> Self:
        """Move to a device, in place; None takes a GPU if there is one."""
        self._forget()
        return super().to(device)

    @property
    def attention(self) -> str:
        """The attention back end that the DiT uses, by diffusers' name (``native`` is torch's SDPA)."""
        backend = getattr(self.dit.blocks[0].attn1.processor, "_attention_backend", None)
        return str(getattr(backend, "value", backend or DIFFUSERS_ATTN_BACKEND))

    @property
    def micro_batch(self) -> int:
        """Videos in one forward of the DiT."""
        return self.config.dit_batch(self.device.type)

    @property
    def frame_batch(self) -> int:
        """Single frames in one forward of the VAE."""
        return super().micro_batch

    @torch.no_grad()
    def latents(self, frames: Tensor) -> Tensor:
        """Normalised latents of pictures at tower size.

        Args:
            frames: (N, 3, H, W), or clips (N, 3, T, H, W); float32 in [0, 1].

        Returns:
            (N, 16, 1, H/8, W/8), or (N, 16, T', H/8, W/8).

        Raises:
            InputError: a side is not a multiple of 16, or frames would be lost.
        """
        pictures = frames.unsqueeze(2) if frames.ndim == 4 else frames  # (N, 3, T, H, W)
        vae.require_pictures(pictures)
        size = self.frame_batch if pictures.shape[2] == 1 else self.micro_batch
        return in_micro_batches(pictures.float().to(self.device), size, self._encode_pictures)

    def _encode_pictures(self, pictures: Tensor) -> Tensor:
        if pictures.shape[2] == 1:
            latents: Tensor = self.plane(pictures[:, :, 0] * 2.0 - 1.0)
            return latents.unsqueeze(2)
        return vae.encode(self.vae, pictures)

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
            latents: (N, 16, T, h, w), clean. For a VACE one frame, or the reference and the frame.
            sigma: noise level in 0..1; None takes the config's schedule.
            timestep: timestep given to the DiT; None takes that of ``sigma``.
            noise: of the latents' shape; None draws one for all, from the config's seed.
            blocks: zero-based; None is the config's block.

        Returns:
            {block: (N, T * h/2 * w/2, C)} in the residual stream's dtype, raster order, time outermost; in a
            VACE with the hint of that block.

        Raises:
            BackboneError: a block is not loaded.
        """
        blocks = sorted(set(blocks)) if blocks is not None else [self.config.block]
        for block in blocks:
            require_block(block, len(self.dit.blocks), "the loaded transformer")
        clock, level = schedule(self.config.sigma, self.config.schedule)
        if sigma is not None:
            clock, level = 1000.0 * sigma, sigma
        clock = clock if timestep is None else timestep
        if noise is None:
            noise = shared_noise(self.config.seed, latents.shape[1:]).expand(latents.shape)
        batch = add_noise(latents, noise, level).to(self.device)
        if self.config.mode.startswith("vace"):  # (N, 16 + 96, T, h, w): noised latents, then their control
            batch = torch.cat([batch, vace.control(latents, self._blank_latent(latents)).to(batch)], dim=1)

        def run(part: Tensor) -> Tensor:
            outputs = self._residual_stream(part, clock, blocks)
            return torch.stack([outputs[block] for block in blocks], dim=1)  # (n, blocks, L, C)

        states = in_micro_batches(batch, self.micro_batch, run)
        return {block: states[:, index] for index, block in enumerate(blocks)}

    def _residual_stream(self, part: Tensor, timestep: float, blocks: Collection[int]) -> dict[int, Tensor]:
        """Run the DiT on one micro-batch."""
        latents, control = part[:, :16], part[:, 16:]
        constants, rotary = self._constants(timestep), self._positions(latents)
        residual = torch.float32 if self.config.residual_dtype == "float32" else self.dtype
        stream = dit.embed_patches(self.dit, latents, residual)
        hints = vace.hints(self.dit, stream, control, constants.control, rotary) if control.shape[1] else None
        main = constants.main[: max(blocks) + 1]
        return dit.residual_stream(self.dit, stream, main, rotary, blocks, hints)

    def _constants(self, timestep: float) -> _Constants:
        if self._kept is None or self._kept.timestep != timestep:
            condition = dit.embed_condition(self.dit, self.prompt_embeds.to(self.device), timestep)
            main, control = (
                [dit.block_constants(block, condition) for block in blocks]
                for blocks in (self.dit.blocks, getattr(self.dit, "vace_blocks", ()))
            )
            self._kept = _Constants(timestep, main, control)
        return self._kept

    def _positions(self, latents: Tensor) -> Tensor:
        shape = latents.shape[2:]
        if shape not in self._rotary:
            if len(self._rotary) >= GRIDS:
                self._rotary.clear()
            self._rotary[shape] = dit.positions(self.dit, latents)
        return self._rotary[shape]

    def _blank_latent(self, latents: Tensor) -> Tensor:
        """The latent of a picture that is zero in [-1, 1]: (1, 16, 1, h, w)."""
        size = latents.shape[3:]
        if size not in self._blank:
            self._blank = {size: self.latents(torch.full((1, 3, size[0] * 8, size[1] * 8), 0.5))}
        return self._blank[size].to(latents)


def _use_attention(transformer: Any, name: str) -> None:
    try:
        transformer.set_attention_backend(name)
    except (ValueError, RuntimeError, ImportError) as error:
        title, got = f"Cannot use the attention back end {name!r}.", str(error).splitlines()[0]
        expected = "a back end of diffusers that is installed here; `vega3d doctor` lists them"
        fix = "leave WanConfig(attention=...) out to use torch's own"
        raise ConfigError(title, got=got, expected=expected, fix=fix) from error
