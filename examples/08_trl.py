"""Fine-tune with TRL on a `datasets` table with text and video: LoRA and the two new modules."""

import vega3d._utils.torchvision  # noqa: F401  # only needed on a CPU-only torch, before transformers

# isort: split
from datasets import Dataset
from trl import SFTConfig, SFTTrainer

from vega3d import Vega3DAdapter, Vega3DProcessor, WanBackbone, WanConfig
from vega3d.config import HostConfig
from vega3d.hosts.loading import load_host
from vega3d.pico import pico_path
from vega3d.rooms import make_room, render
from vega3d.training import Collator
from vega3d.training.recipes import apply_recipe

wan = WanBackbone.from_pretrained(pico_path("wan"), config=WanConfig(block=5, pixels=64 * 64))
adapter = Vega3DAdapter(load_host(HostConfig(path=str(pico_path("host")))), backbone=wan)
processor = Vega3DProcessor.from_pretrained(pico_path("host"), adapter.vega3d_config)

rows = []
for seed in (200_000_000, 200_000_001):
    render(make_room(seed=seed)).save(f"{seed}.mp4")
    asked = [{"type": "video", "video": f"{seed}.mp4", "nframes": 4}, {"type": "text", "text": "A room?"}]
    turns = [("user", asked), ("assistant", [{"type": "text", "text": "Yes."}])]
    rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
table = Dataset.from_list(rows)
print(table[0]["messages"][1]["content"])  # the table fills in missing keys with None

options = {"max_steps": 3, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "logging_steps": 1}
options |= {"remove_unused_columns": False, "dataset_kwargs": {"skip_prepare_dataset": True}}
args = SFTConfig("sft", report_to=[], save_strategy="no", bf16=False, **options)
model, tokens = apply_recipe(adapter, "lora"), processor.processor
trainer = SFTTrainer(model, args, Collator(processor), table, processing_class=tokens)
trainer.train()
print("losses:", [round(step["loss"], 3) for step in trainer.state.log_history if "loss" in step])
