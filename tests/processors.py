"""Processors of the real transformers classes with a tokenizer of bytes, built without any download.

The ids of the special tokens are those of the tiny hosts in ``tests/tiny.py``.
"""

from __future__ import annotations

from typing import Any

import vega3d._utils.torchvision  # noqa: F401  # must run before transformers is imported

# isort: split
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = {
    "<|endoftext|>": 0,
    "<|im_start|>": 1,
    "<|im_end|>": 2,
    "<|image_pad|>": 290,
    "<|video_pad|>": 291,
    "<|vision_start|>": 292,
    "<|vision_end|>": 293,
}
TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}"
    "{% if add_vision_id %}Picture: {% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HOSTS = {
    "qwen2_vl": ("Qwen2VLProcessor", "Qwen2VLVideoProcessor", 14),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", "Qwen2VLVideoProcessor", 14),
    "qwen3_vl": ("Qwen3VLProcessor", "Qwen3VLVideoProcessor", 16),
}


def tokenizer() -> Any:
    """One token a byte, and Qwen's special tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {**{letter: 3 + at for at, letter in enumerate(letters)}, **SPECIAL}
    built = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=built,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=list(SPECIAL),
    )


def host_processor(name: str = "qwen2_5_vl", patch: int | None = None) -> Any:
    """A processor of one family; its limits keep pictures at 16 to 64 tokens or so."""
    kind, videos, published = HOSTS[name]
    patch = patch or published
    token = (2 * patch) ** 2
    shared = {"patch_size": patch, "merge_size": 2, "temporal_patch_size": 2}
    frames = 8 if name == "qwen3_vl" else 1  # its size bounds the whole clip
    return getattr(transformers, kind)(
        transformers.Qwen2VLImageProcessor(
            size={"shortest_edge": 4 * token, "longest_edge": 16 * token}, **shared
        ),
        tokenizer(),
        getattr(transformers, videos)(
            size={"shortest_edge": 4 * token, "longest_edge": 12 * token * frames}, **shared
        ),
        chat_template=TEMPLATE,
    )
