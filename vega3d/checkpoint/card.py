"""The model card that is written beside a checkpoint where there is none."""

from __future__ import annotations

from pathlib import Path

from vega3d.checkpoint.record import CONFIG_FILE, with_pico
from vega3d.config import Vega3DConfig
from vega3d.pico import PICO


def card(config: Vega3DConfig) -> str:
    """The text of a card, in Markdown."""
    record = with_pico(config.to_dict(), by_name=True)
    host, backbone = record["host"]["path"], record["backbone"].get("path")
    further = "".join(
        f" and `{stream.path or 'a stream built in memory'}`" for stream in config.semantic_streams
    )
    base = f"\nbase_model: {host}" if host and host != PICO and not Path(host).is_dir() else ""
    return f"""---
library_name: vega3d
tags: [vega3d, spatial-reasoning, {config.host.model_type}]{base}
---

# Projector and fusion of a vega3d model

These are the trained parts only. They belong to the host `{host or config.host.model_type}` and to features
of `{backbone or "a backbone built in memory"}`{further}; none of them is copied here.

```python
from vega3d import Vega3DAdapter

model = Vega3DAdapter.from_pretrained("this repository or folder")
```

Fusion: `{config.fusion.type}`. All settings: `{CONFIG_FILE}`. What it was trained on, and how well it
does, is for its trainer to say here.
"""
