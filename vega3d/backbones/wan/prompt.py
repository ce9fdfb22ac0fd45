"""The empty prompt's embedding: a few thousand numbers, so that the text encoder is never loaded.

The empty prompt has one token, the end of the text. With a single token attention is trivial, so its
embedding is a constant of the checkpoint. It is read from a file beside the weights, or from the user's
cache. ``vega3d prompt-embedding`` computes it once with the real text encoder.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vega3d._utils import files
from vega3d.errors import BackboneError

FILE = "prompt_embeds.safetensors"
KEY = "prompt_embeds"


def find_prompt_embeds(path: str | Path, folder: Path, text_dim: int) -> Tensor:
    """Read the embedding (m, text_dim) from ``folder`` or the user's cache.

    Args:
        path: folder or hub id of the weights as the user gave it; the key of the cache.
        folder: local folder of the weights.
        text_dim: width of the text encoder.

    Raises:
        BackboneError: neither has the embedding, or it does not fit.
    """
    for file in (folder / FILE, cache_file(path)):
        if file.exists():
            return require_fitting(load_file(file)[KEY], text_dim)
    got = f"no {FILE} in {folder}, and none in the cache"
    fix = f"`vega3d prompt-embedding {path}` (downloads UMT5 once, 11 GB in bf16), or pass prompt_embeds=..."
    title, expected = f"Missing prompt embedding for {str(path)!r}.", f"a tensor {KEY!r} (m, {text_dim})"
    raise BackboneError(title, got=got, expected=expected, fix=fix)


def require_fitting(embeds: Tensor, text_dim: int) -> Tensor:
    """Check (m, text_dim) with 1 <= m <= 512.

    Raises:
        BackboneError: another shape.
    """
    if embeds.ndim != 2 or embeds.shape[1] != text_dim or not 1 <= len(embeds) <= 512:
        shape, fix = tuple(embeds.shape), "compute it with the text encoder of the same checkpoint"
        expected = f"(m, {text_dim}): the m non-pad tokens of the prompt, at most 512"
        raise BackboneError(f"Invalid shape {shape} of the prompt.", got=shape, expected=expected, fix=fix)
    return embeds.float()


def cache_file(path: str | Path) -> Path:
    """File for the embedding of the weights at ``path``, in ``$VEGA3D_CACHE`` or ``~/.cache/vega3d``."""
    root = os.environ.get("VEGA3D_CACHE") or Path.home() / ".cache" / "vega3d"
    return Path(root) / "prompt_embeds" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:16]}.safetensors"


@torch.no_grad()
def compute_prompt_embeds(path: str | Path) -> Path:
    """Run the text encoder of a diffusers folder or hub id once on the empty prompt.

    Returns:
        The file in the user's cache that holds (m, text_dim), the non-pad tokens.

    Raises:
        BackboneError: there is no text encoder.
    """
    from transformers import AutoTokenizer, UMT5EncoderModel

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, subfolder="tokenizer")
        encoder = UMT5EncoderModel.from_pretrained(path, subfolder="text_encoder", dtype="auto").eval()
    except (OSError, ValueError) as error:
        title, got = f"Missing text encoder at {str(path)!r}.", str(error).splitlines()[0]
        expected = "a diffusers folder or hub id with tokenizer/ and text_encoder/"
        fix = "use Wan-AI/Wan2.1-T2V-1.3B-Diffusers, whose text encoder all Wan2.1 models share"
        raise BackboneError(title, got=got, expected=expected, fix=fix) from error
    tokens = tokenizer("", return_tensors="pt")
    embeds = encoder(**tokens).last_hidden_state[0][tokens["attention_mask"][0].bool()]  # (m, text_dim)
    file = cache_file(path)
    files.make_folder(file.parent)
    return files.write_whole(file, lambda part: save_file({KEY: embeds.float().contiguous()}, part))
