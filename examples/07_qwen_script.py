"""Run a script from a Qwen model card with adapter and processor swapped in; pip install 'vega3d[qwen]'."""

import vega3d._utils.torchvision  # noqa: F401  # only needed on a CPU-only torch, before transformers

# isort: split
from PIL import Image
from qwen_vl_utils import process_vision_info
from transformers import Qwen2_5_VLForConditionalGeneration

from vega3d import Vega3DAdapter, Vega3DProcessor, WanBackbone, WanConfig
from vega3d.pico import pico_path
from vega3d.rooms import make_room, render

# Swapped in: the card uses the host alone and AutoProcessor.
host = Qwen2_5_VLForConditionalGeneration.from_pretrained(pico_path("host"))
wan = WanBackbone.from_pretrained(pico_path("wan"), config=WanConfig(pixels=128 * 128))
model = Vega3DAdapter(host, backbone=wan).eval()
processor = Vega3DProcessor.from_pretrained(pico_path("host"))

# A video as its frames; to read files, qwen-vl-utils needs torchcodec or decord.
frames = [Image.fromarray(frame) for frame in render(make_room(seed=200_000_005)).rgb[::6]]
video = {"type": "video", "video": frames, "sample_fps": 2.0, "min_pixels": 64 * 64, "max_pixels": 128 * 128}
question = {"type": "text", "text": "How many chairs are there?"}
messages = [{"role": "user", "content": [video, question]}]

# The rest is the same as on the card.
text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
image_inputs, video_inputs, video_kwargs = process_vision_info(messages, return_video_kwargs=True)
inputs = processor(
    text=[text], images=image_inputs, videos=video_inputs, padding=True, return_tensors="pt", **video_kwargs
)
inputs = inputs.to(model.device)
generated_ids = model.generate(**inputs, max_new_tokens=16, do_sample=False)
trimmed = [out[len(ids) :] for ids, out in zip(inputs.input_ids, generated_ids, strict=True)]
print("frames of the generator:", tuple(inputs["generative_clips"][0].frames.shape))
print(
    "answer:", processor.batch_decode(trimmed, skip_special_tokens=True, clean_up_tokenization_spaces=False)
)
