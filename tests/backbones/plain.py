"""The branch as diffusers has it, without anything that saves work: the reference of the fast one.

Single frames go through the 3-D VAE, each as often as it occurs, every block of the loaded transformer runs,
all 512 text slots are keys, and nothing is kept from one forward to the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

from vega3d import WanBackbone
from vega3d.backbones.wan.backbone import Chunk
from vega3d.backbones.wan.config import AS_VIDEO
from vega3d.backbones.wan.encoder import encode_videos


@torch.no_grad()
def hidden_states(
    model: Any, noisy: Tensor, timestep: float, prompt: Tensor, **control: Any
) -> dict[int, Tensor]:
    """diffusers' own forward; what enters the next block is the residual stream with a VACE's hint."""
    kept: dict[int, Tensor] = {}

    def keep(block: int) -> Callable[..., None]:
        return lambda module, inputs: kept.__setitem__(block, inputs[0])

    following = [*model.blocks[1:], model.norm_out]
    handles = [module.register_forward_pre_hook(keep(n)) for n, module in enumerate(following)]
    text = torch.nn.functional.pad(prompt, (0, 0, 0, 512 - len(prompt)))[None].expand(len(noisy), -1, -1)
    model(noisy, torch.full((len(noisy),), timestep), text, **control)
    for handle in handles:
        handle.remove()
    return kept


class PlainWan(WanBackbone):
    """A backbone of the same parts that computes everything as diffusers does."""

    @classmethod
    def of(cls, wan: WanBackbone) -> PlainWan:
        """Made of the parts of a loaded one."""
        return cls(wan.dit, wan.vae, wan.prompt_embeds, wan.config)

    def _encode_pictures(self, pictures: Tensor) -> Tensor:
        return encode_videos(self.vae, pictures)

    def _latents_of(self, chunks: Sequence[Chunk]) -> Tensor:
        if self.config.mode in AS_VIDEO:
            return super()._latents_of(chunks)
        videos = [self._pictures(list(chunk.frames)).transpose(0, 2)[0] for chunk in chunks]  # (3, T, H, W)
        alone = [torch.cat([self.latents(frame[None, :, None]) for frame in v.unbind(1)], 2) for v in videos]
        return torch.cat(alone)

    def _residual_stream(self, part: Tensor, timestep: float, blocks: Collection[int]) -> dict[int, Tensor]:
        latents, control = part[:, :16], part[:, 16:]
        given = {"control_hidden_states": control} if control.shape[1] else {}
        return hidden_states(self.dit, latents, timestep, self.prompt_embeds, **given)

    def _blank_latent(self, latents: Tensor) -> Tensor:
        self._forget()
        return super()._blank_latent(latents)
