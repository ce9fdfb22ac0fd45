"""How much memory the branch needs at its peak, and a training run for weights, gradients and optimizer.

The peak is that of the tensors that torch holds at once, added up by hand from the code: what is alive in the
widest moment of the VAE and of a block of the DiT, and the features that wait until the clip is whole. Not in
it: a GPU's context (some 0.5 GiB), scratch space of its libraries, what the allocator keeps but does not use.

Training is the arithmetic of mixed precision with Adam (ZeRO, arXiv 1910.02054, section 3): 16 bytes for each
trained parameter, 2 for each frozen one. Activations of the host come on top (``activation_memory``).

This module knows no model but through its shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vega3d.backbones.wan.dit import PART
from vega3d.backbones.wan.flops import CONTROL, DitShape, VaeShape, Work, work_of
from vega3d.backbones.wan.runs import AS_VIDEO
from vega3d.config import PATCH, WanConfig
from vega3d.estimate.setup import Device

WORD = 4  # bytes of a float32
LAYER, LOGIT = 34, 12  # bytes of activations: a channel of a layer, a logit with its copy and gradients
PICTURES = 15  # channels of pictures beside the VAE's own tensors: decoded, stacked, scaled, padded
# Full-size tensors that the published VAE holds at once, each of its first width, with the convolutions'
# copies of their inputs. For a video of 1, 5, or more frames: measured, see docs/estimate.md.
VIDEO_TENSORS = {1: 13.1, 5: 36.6}
LONGER_TENSORS = 40.7
PLAIN = 4 * 16  # channels of latents: clean, their noise, noised, and in the place where they are cut
CONTROLLED = PLAIN + 2 * (16 + CONTROL)  # a VACE's with their control, before and after they are cut
PLANE_TENSORS = 4.0  # a residual block in 2-D: its input, and three on the way to its output


@dataclass(frozen=True)
class BranchMemory:
    """Bytes of the branch on one clip.

    Attributes:
        weights: of everything that the backbone keeps.
        vae: the widest moment of the VAE.
        dit: the widest moment of the DiT, with the features that are done by then.
        features: the moment when the clip's features are put together.
    """

    weights: int
    vae: int
    dit: int
    features: int

    @property
    def peak(self) -> int:
        """Weights and the largest of the three moments."""
        return self.weights + max(self.vae, self.dit, self.features)


def branch_memory(
    config: WanConfig,
    dit: DitShape,
    vae: VaeShape,
    height: int,
    width: int,
    frames: int,
    *,
    weights: int = 0,
    device: Device = "cuda",
) -> BranchMemory:
    """The peak of one clip in a config's mode.

    Args:
        config: settings.
        dit: dimensions of the transformer.
        vae: dimensions of the VAE's encoder.
        height: of the tower's picture in pixels.
        width: of the tower's picture in pixels.
        frames: of the clip that the generator is given.
        weights: bytes of the weights.
        device: decides the default micro-batch, and whether the MLP runs in parts.
    """
    work, grid = work_of(config, frames), (height // PATCH) * (width // PATCH)
    longest, batch = max(work.forwards), micro_batch(config, device)
    waiting = grid * sum(work.forwards) * dit.channels * WORD  # of every latent frame, float32
    done = (len(work.forwards) - 1) // batch * batch / len(work.forwards)  # before the last forward
    rotary = grid * longest * dit.channels // dit.heads * WORD
    inside = batch * token_bytes(config, dit.kept(config), grid * longest, device) * grid * longest
    channels = CONTROLLED if dit.vace_layers else PLAIN
    latents = channels * 4 * WORD * grid * sum(work.forwards)  # four latent positions a token
    return BranchMemory(
        weights=weights,
        vae=_encoding(config, vae, height * width, work, device),
        dit=inside + rotary + int(done * waiting) + latents,
        features=min(config.draws + 1, 4) * waiting + latents,
    )


def micro_batch(config: WanConfig, device: Device) -> int:
    """Videos in one forward of the DiT, as the backbone decides it."""
    if config.micro_batch is not None:
        return config.micro_batch
    return 1 if device == "cpu" or config.mode in ("window", "joint", "clip") else 8


def _encoding(config: WanConfig, vae: VaeShape, area: int, work: Work, device: Device) -> int:
    """The VAE on one micro-batch of its longest videos."""
    frames = max(work.encodes)
    if config.mode in AS_VIDEO:
        batch = micro_batch(config, device)
    else:
        batch = config.micro_batch or (1 if device == "cpu" else 8)
    if frames == 1 and "plane" in config.shortcuts:
        tensors = PLANE_TENSORS
    else:
        tensors = VIDEO_TENSORS.get(frames, LONGER_TENSORS)
    return int(batch * area * WORD * (tensors * vae.base + PICTURES * frames))


def token_bytes(config: WanConfig, dit: DitShape, tokens: int, device: Device) -> int:
    """Bytes for each token in the widest moment of a block, as ``dit.run_block`` makes its tensors.

    Args:
        config: settings.
        dit: dimensions of what is kept.
        tokens: in one video.
        device: on a CPU the MLP runs in parts of ``dit.PART`` tokens.
    """
    wide, own = dit.channels, 4 if config.dtype == "float32" else 2  # bytes of a number beside the stream
    stream = 4 if config.residual == "float32" else own
    cast = 4 if own == 2 else 0  # a float32 copy of what is not float32
    share = 1.0 if device == "cuda" else 1 / -(-tokens // PART)
    inner = 2 * own * dit.feed_forward * share + (1 - share) * own * wide  # up, its GELU; parts that are done
    moments = (
        2 * stream * wide + 3 * own * wide + (4 + cast + (own if cast else 0)) * wide,  # a key is turned
        2 * stream * wide + 6 * own * wide,  # query, key, value, what they give, and its projection
        3 * stream * wide + (own + 12 + (own if cast else 0)) * wide,  # cross attention, in closed form
        3 * stream * wide + own * wide + inner,  # the MLP
    )
    hints = len(dit.vace_layers) * stream * wide
    return int(max(moments)) + hints


def training_memory(trained: int, frozen: int, stage: int, processes: int) -> int:
    """Bytes on each GPU for weights, gradients and Adam's state, under DeepSpeed's ZeRO.

    Args:
        trained: number of trained parameters.
        frozen: number of frozen ones, in bfloat16.
        stage: 0 to 3: nothing is split, optimizer, gradients too, weights too.
        processes: GPUs that share it.
    """
    weights, gradients, optimizer = 2 * trained, 2 * trained, 12 * trained
    split = [optimizer * (stage >= 1), gradients * (stage >= 2), (weights + 2 * frozen) * (stage >= 3)]
    whole = weights + gradients + optimizer + 2 * frozen
    return whole - sum(split) + -(-sum(split) // processes)


def activation_memory(host: Any, tokens: int, *, recompute: bool) -> int:
    """Bytes of the language model's activations for one backward pass, in bfloat16.

    34 bytes a token and channel in each layer (Korthikanti et al., arXiv 2205.05198, equation 2, without its
    term for attention scores, which fused attention does not keep); with checkpointing the input of each
    layer, and one layer whole. Then the logits: in bfloat16, in float32 for the loss, and their gradients.
    A rough figure: libraries' scratch space and fragments are not in it.

    Args:
        host: on any device.
        tokens: of a micro-batch, padding included.
        recompute: gradient checkpointing.
    """
    text = host.config.get_text_config()
    layers, wide = text.num_hidden_layers, text.hidden_size
    kept = layers * 2 + LAYER if recompute else layers * LAYER
    return int(tokens * (kept * wide + LOGIT * text.vocab_size))
