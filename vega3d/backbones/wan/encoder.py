"""WanEncoder: pictures at tower size to latents, latents to the residual stream after a block.

It holds modules, devices, constants and micro-batches. Decoded frames, plans and feature maps belong to
``backbone``, the blocks of the DiT to ``dit``.

Latents are the mean of the posterior of the VAE's encoder, in float32, untiled. Sampling the posterior would
make features irreproducible, tiling changes the latent visibly, and bfloat16 changes it by 1 %. None of the
three is offered.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

import torch

import vega3d._utils.torchvision  # noqa: F401  (before diffusers)

# isort: split
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanResample,
    WanResidualBlock,
)
from diffusers.utils.constants import DIFFUSERS_ATTN_BACKEND
from torch import Tensor, nn
from torch.nn import functional as F

from vega3d._utils import moved
from vega3d.backbones.frames import add_noise, in_micro_batches, schedule, shared_noise
from vega3d.backbones.frozen import FrozenEncoder
from vega3d.backbones.wan import dit, prompt, vace
from vega3d.backbones.wan.config import PATCH, WanConfig, require_block
from vega3d.errors import ConfigError, InputError

__getattr__ = moved.names(__name__, {"WanTower": "vega3d.backbones.wan.encoder:WanEncoder"})

GRIDS = 32  # latent sizes whose rotary positions are kept
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
TINY = 1e-30  # under the root of a norm: a position that is zero in every channel stays zero


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
        self.plane = PlaneEncoder(self.vae)
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
        require_pictures(pictures)
        size = self.frame_batch if pictures.shape[2] == 1 else self.micro_batch
        return in_micro_batches(pictures.float().to(self.device), size, self._encode_pictures)

    def _encode_pictures(self, pictures: Tensor) -> Tensor:
        if pictures.shape[2] == 1:
            latents: Tensor = self.plane(pictures[:, :, 0] * 2.0 - 1.0)
            return latents.unsqueeze(2)
        return encode_videos(self.vae, pictures)

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


def require_pictures(pictures: Tensor) -> None:
    """Check that pictures (N, 3, T, H, W) are at a tower size and lose no frame.

    Raises:
        InputError: a side is not a multiple of 16, or T is not 1, 5, 9, ...
    """
    frames, height, width = pictures.shape[2:]
    if height % PATCH or width % PATCH:
        size, fix = f"{width} x {height} pixels", "resize it, for example by backbone.prepare(frame)"
        expected = f"width and height multiples of {PATCH}; the tower would silently cut the rest off"
        raise InputError(f"Invalid picture of {size}.", got=size, expected=expected, fix=fix)
    if frames % 4 != 1:
        title = f"Invalid clip of {frames} frames: the VAE would silently drop the last ones."
        fix = "repeat the last frame up to the next such length"
        raise InputError(title, got=frames, expected="1, 5, 9, ... frames (1 + 4k)", fix=fix)


def encode_videos(vae: Any, pictures: Tensor) -> Tensor:
    """Encode pictures to the normalised posterior mean.

    Args:
        vae: diffusers' ``AutoencoderKLWan`` in float32.
        pictures: (N, 3, T, H, W), float32 in [0, 1].

    Returns:
        (N, 16, 1 + (T - 1) / 4, H / 8, W / 8), about unit variance in each channel.
    """
    mean: Tensor = vae.encode(pictures * 2.0 - 1.0, return_dict=False)[0].mode()
    shift, spread = (values.view(1, -1, 1, 1, 1) for values in _scale(vae, mean))
    return (mean - shift) * (1.0 / spread)


class PlaneEncoder(nn.Module):
    """One-frame encoder of diffusers' ``AutoencoderKLWan``, with weights of its own (76 MB for Wan2.1).

    It runs as 2-D convolutions: the same function with 2.75 times less work. A causal 3-D convolution pads a
    one-frame video with zeros in front, so only the last temporal slice of its kernel is applied to the
    frame. The temporal convolutions of the downsamplers are not called at all. The rest is a 2-D network. Its
    head (last convolution, quantisation, mean half of the posterior, normalisation of the latent) is linear
    and folds into one convolution. All is channels-last, where a norm over channels reads memory in order.

    Args:
        vae: in float32; it is not changed.
    """

    def __init__(self, vae: Any) -> None:
        super().__init__()
        encoder = vae.encoder
        (first, last), (attention,) = encoder.mid_block.resnets, encoder.mid_block.attentions
        stages = [_layer(layer) for layer in (*encoder.down_blocks, first, attention, last)]
        self.layers = nn.Sequential(_convolution(encoder.conv_in), *stages, _Norm(encoder.norm_out))
        self.head = _head(vae)
        self.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1] to the normalised latent (N, 16, H/8, W/8), contiguous."""
        inside = self.layers(pictures.contiguous(memory_format=torch.channels_last))
        latent: Tensor = self.head(F.silu(inside, inplace=True))
        return latent.contiguous()


class _Norm(nn.Module):
    """RMS norm over channels."""

    def __init__(self, norm: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.gamma.detach().flatten().clone())

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)  # (N, H, W, C), contiguous under channels-last
        return F.rms_norm(rows, (rows.shape[-1],), self.weight, TINY).permute(0, 3, 1, 2)


class _Residual(nn.Module):
    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1, self.conv1 = _Norm(block.norm1), _convolution(block.conv1)
        self.norm2, self.conv2 = _Norm(block.norm2), _convolution(block.conv2)
        shortcut = block.conv_shortcut
        self.shortcut = shortcut if isinstance(shortcut, nn.Identity) else _convolution(shortcut)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.conv1(F.silu(self.norm1(x), inplace=True))
        inside = self.conv2(F.silu(self.norm2(inside), inplace=True))
        output: Tensor = inside.add_(self.shortcut(x))
        return output


class _Attention(nn.Module):
    """Single-head attention over all positions of a frame."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm = _Norm(block.norm)
        self.qkv, self.out = _linear(block.to_qkv), _linear(block.proj)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)  # (N, h * w, C)
        query, key, value = self.qkv(rows)[:, None].chunk(3, dim=-1)  # (N, 1, h * w, C) each
        attended = F.scaled_dot_product_attention(query, key, value)[:, 0]
        output: Tensor = self.out(attended).unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
        return x + output


class _Halve(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.convolution = copy.deepcopy(layer.resample[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(F.pad(x, (0, 1, 0, 1)))  # type: ignore[no-any-return]


def _layer(layer: Any) -> nn.Module:
    kinds = {WanResidualBlock: _Residual, WanAttentionBlock: _Attention, WanResample: _Halve}
    return kinds[type(layer)](layer)


def _convolution(causal: Any) -> nn.Conv2d:
    """The 2-D convolution that equals a causal 3-D one for a single frame."""
    plane = nn.Conv2d(
        causal.in_channels, causal.out_channels, causal.kernel_size[1:], padding=causal._padding[2]
    )
    return _fill(plane, causal.weight[:, :, -1], causal.bias)


def _linear(convolution: Any) -> nn.Linear:
    """A 1 x 1 convolution as a linear layer."""
    linear = nn.Linear(convolution.in_channels, convolution.out_channels)
    return _fill(linear, convolution.weight[:, :, 0, 0], convolution.bias)


def _head(vae: Any) -> nn.Conv2d:
    """Last convolution, quantisation, mean half and normalisation as one convolution, folded in float64."""
    last, quantise = _convolution(vae.encoder.conv_out), vae.quant_conv
    mean = quantise.weight.shape[0] // 2
    shift, spread = _scale(vae, last.weight.double())
    mix = quantise.weight[:mean, :, -1, 0, 0].double() / spread[:, None]  # (16, 32)
    weight = torch.einsum("om,mihw->oihw", mix, last.weight.double())
    assert last.bias is not None
    bias = mix @ last.bias.double() + (quantise.bias[:mean].double() - shift) / spread
    folded = nn.Conv2d(last.in_channels, mean, last.kernel_size, padding=last.padding)  # type: ignore[arg-type]
    return _fill(folded, weight.float(), bias.float())


def _fill(layer: Layer, weight: Tensor, bias: Tensor) -> Layer:
    copies = {"weight": weight.detach().clone().contiguous(), "bias": bias.detach().clone()}
    layer.load_state_dict(copies, assign=True)
    return layer


def _scale(vae: Any, like: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel of the latents."""
    return like.new_tensor(vae.config["latents_mean"]), like.new_tensor(vae.config["latents_std"])
