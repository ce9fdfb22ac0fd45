"""``vega3d prompt-embedding PATH``: the empty prompt's embedding, computed once."""

from __future__ import annotations

import argparse

from vega3d.cli._command import Commands


def add_parser(commands: Commands) -> None:
    """Register the command."""
    add = commands.add(
        _prompt_embedding,
        help="compute the empty prompt's embedding of a Wan, once",
        description="Run the text encoder (UMT5, about 11 GB in bf16) of a Wan in diffusers layout once on "
        "the empty prompt and keep the result, a few kilobytes, in the user's cache. Needed only where "
        "prompt_embeds.safetensors does not lie beside the weights.",
        epilog="example: vega3d prompt-embedding Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
    )
    add("path", help="folder or hub id with text_encoder/ and tokenizer/")


def _prompt_embedding(arguments: argparse.Namespace) -> None:
    """Compute, keep, print the file's path."""
    from vega3d.backbones.wan.prompt import compute_prompt_embeds

    print(compute_prompt_embeds(arguments.path))
