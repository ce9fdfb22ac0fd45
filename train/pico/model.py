"""The pico host's parts: configuration, processor and tokenizer, all stock classes in tiny sizes.

Decision: the tokenizer is a byte-level BPE like Qwen's (any text encodes), and the fixed sentences of
VSI-Bench's prompts are single added tokens: the prompt text stays exactly the benchmark's, and a tiny model
does not spend its layers on boilerplate.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen2VLVideoProcessor,
)

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
           "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")  # fmt: skip
PHRASES = (
    "You are a helpful assistant.",
    "These are frames of a video.",
    "Please answer the question using a single word or phrase.",
    "Answer with the option's letter from the given choices directly.",
    "Options:",
    "(s) are in this room?",
    "What is the length of the longest dimension (length, width, or height) of the",
    ", measured in centimeters?",
    "What is the size of this room (in square meters)?",
    "If multiple rooms are shown, estimate the size of the combined space.",
    "Measuring from the closest point of each object,",
    "what is the distance between the",
    "(in meters)?",
    "which of these objects",
    "is the closest to the",
    "If I am standing by the",
    "to the left or the right of the",
    "to my left, right, or back?",
    "An object is to my back if I would have to turn at least 135 degrees in order to face it.",
    "to my front-left, front-right, back-left, or back-right?",
    "The directions refer to the quadrants of a Cartesian plane (if I am standing at the origin and facing "
    "along the positive y-axis).",
    "What will be the first-time appearance order of the following categories in the video:",
    "You are a robot beginning at the",
    "and facing the",
    "You want to navigate to the",
    "You will perform the following actions (Note: for each [please fill in], choose either 'turn back,' "
    "'turn left,' or 'turn right.'):",
    "[please fill in]",
    "Go forward until the",
    "You have reached the final destination.",
)
_SPLIT = r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""  # noqa: E501

CHAT_TEMPLATE = """\
{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}\
{% for message in messages %}\
{% if loop.first and message['role'] != 'system' %}<|im_start|>system
You are a helpful assistant.<|im_end|>
{% endif %}<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}<|im_end|>
{% else %}{% for content in message['content'] %}\
{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}\
{% set image_count.value = image_count.value + 1 %}\
{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>\
{% elif content['type'] == 'video' or 'video' in content %}\
{% set video_count.value = video_count.value + 1 %}\
{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>\
{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>
{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

_PIXELS = {"shortest_edge": 56 * 56, "longest_edge": 20_000}  # a square picture becomes 140 x 140


def video_processor() -> Qwen2VLVideoProcessor:
    """The stock video processor, small: a 256x256 clip becomes 140x140."""
    return Qwen2VLVideoProcessor(size=dict(_PIXELS), do_sample_frames=False, cap_pixels_per_frame=False)


def train_tokenizer(texts: Iterable[str], vocab_size: int = 1500) -> Qwen2Tokenizer:
    """Byte-level BPE on the given texts, with Qwen's special tokens and the prompt phrases."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    )
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    bpe.add_tokens([AddedToken(phrase, special=False, normalized=False) for phrase in PHRASES])
    return Qwen2Tokenizer(
        tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>", unk_token=None,
        model_max_length=4096, chat_template=CHAT_TEMPLATE,
    )  # fmt: skip


def build_processor(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLProcessor:
    """Image part (without torchvision), video part, tokenizer and chat template."""
    images = Qwen2VLImageProcessorPil(size=dict(_PIXELS), patch_size=14, temporal_patch_size=2, merge_size=2)
    return Qwen2_5_VLProcessor(images, tokenizer, video_processor(), chat_template=CHAT_TEMPLATE)


def build_config(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLConfig:
    """About 7 M parameters: 6 vision blocks of 192, 6 text layers of 256."""
    ids: Any = tokenizer.convert_tokens_to_ids
    text = {
        "vocab_size": -(-len(tokenizer) // 64) * 64, "hidden_size": 256, "intermediate_size": 512,
        "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [8, 12, 12]},
        "bos_token_id": ids("<|endoftext|>"), "eos_token_id": ids("<|im_end|>"),
        "pad_token_id": ids("<|endoftext|>"),
    }  # fmt: skip
    vision = {
        "depth": 6, "hidden_size": 192, "intermediate_size": 448, "num_heads": 6, "patch_size": 14,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "window_size": 168, "out_hidden_size": 256,
        "fullatt_block_indexes": [1, 3, 5], "tokens_per_second": 2,
    }  # fmt: skip
    return Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True,
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip


def save_processor(processor: Qwen2_5_VLProcessor, folder: Path) -> None:
    """Write the processor's files."""
    processor.save_pretrained(folder)
