"""Train two steps, save projector and fusion, and load them onto the same host: equal to the bit."""

import torch

from vega3d import Vega3DAdapter, Vega3DProcessor, WanBackbone, WanConfig
from vega3d.config import HostConfig
from vega3d.hosts.loading import load_host
from vega3d.pico import pico_path

host = load_host(HostConfig(path=str(pico_path("host")))).requires_grad_(False)
backbone = WanBackbone.from_pretrained(pico_path("wan"), config=WanConfig(pixels=128 * 128))
model = Vega3DAdapter(host, backbone=backbone)
processor = Vega3DProcessor.from_pretrained(pico_path("host"))

picture = torch.randint(0, 256, (3, 120, 160), dtype=torch.uint8)
content = [{"type": "image", "image": picture}, {"type": "text", "text": "What is in this room?"}]
batch = processor.apply_chat_template(
    [{"role": "user", "content": content}], tokenize=True, return_dict=True, add_generation_prompt=True
)

trained = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW(trained, lr=1e-3)
for step in range(2):
    loss = model(**batch, labels=batch["input_ids"]).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(f"step {step}: loss {loss.item():.4f}, {sum(p.numel() for p in trained):,} trained parameters")

model.eval().save_pretrained("checkpoint")
again = Vega3DAdapter.from_pretrained("checkpoint", host=host, backbone=backbone).eval()
with torch.no_grad():
    print("equal to the bit:", torch.equal(model(**batch).logits, again(**batch).logits))
