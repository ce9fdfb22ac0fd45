"""Wrap a Qwen2.5-VL with a generator's features. Until it is trained, it answers as before."""

import sys

from vega3d import Vega3DAdapter, Vega3DProcessor, WanBackbone, WanConfig
from vega3d.config import HostConfig
from vega3d.hosts.loading import load_host
from vega3d.pico import pico_path
from vega3d.rooms import make_room, render

# With real models: "Qwen/Qwen2.5-VL-3B-Instruct" and "Wan-AI/Wan2.1-T2V-1.3B-Diffusers".
host_path, wan_path = sys.argv[1:3] if len(sys.argv) > 2 else (str(pico_path("host")), pico_path("wan"))

host = load_host(HostConfig(path=host_path)).eval()  # or any from_pretrained of your own
wan = WanBackbone.from_pretrained(wan_path, config=WanConfig(pixels=128 * 128))  # its training size
model = Vega3DAdapter(host, backbone=wan).eval()
processor = Vega3DProcessor.from_pretrained(host_path)

clip = render(make_room(seed=200_000_005))
clip.save("room.mp4")

video = {"type": "video", "video": "room.mp4", "nframes": 8}
question = {"type": "text", "text": "How many chairs are there?"}
messages = [{"role": "user", "content": [video, question]}]
inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)

encoding = model.encode(**inputs)
print("tokens (time, rows, columns):", tuple(encoding.reports[0].gate.shape))
print("contribution before training:", encoding.reports[0].contribution.max().item())

tokens = model.generate(**inputs, max_new_tokens=16, do_sample=False)
print(
    "answer:", processor.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)[0]
)
