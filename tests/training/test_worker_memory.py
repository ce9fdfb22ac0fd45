"""A data worker's memory stays flat over an epoch: nothing is kept, and nothing is copied bit by bit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from torch.utils.data import DataLoader

from tests import media, processors
from tests.training.conftest import row
from vega3d.data import Row
from vega3d.processing import Vega3DProcessor
from vega3d.training import Collator
from vega3d.training.config import DataFile
from vega3d.training.dataset import load_rows

# Bytes a sample. Libraries fill their caches for some thousand samples; what one batch of this size would
# leave behind, if it were kept, is 40,000.
FLAT = [(1000, 4000.0), pytest.param(10_000, 500.0, marks=pytest.mark.full)]


class Weighed:
    """The collator, and how much memory this process holds afterwards."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def __call__(self, rows: Sequence[Row]) -> int:
        self.collator(rows)
        return int(psutil.Process().memory_info().rss)


def rows_of(folder: Path, count: int) -> Sequence[Row]:
    media.write_video(folder / "a.mp4", 4, size=(32, 32))
    found = []
    for number in range(count):
        if number < 50:
            media.photo(40, 32, seed=number).save(folder / f"{number}.png")
        own: dict[str, Any] = {"video": "a.mp4"} if number % 10 == 0 else {"image": f"{number % 50}.png"}
        asked = f"<{next(iter(own))}>What is {number}?" + " Why?" * 50
        found.append(row(asked, f"a {number}", **own))
    (folder / "train.jsonl").write_text("".join(json.dumps(one) + "\n" for one in found))
    return load_rows([DataFile(str(folder / "train.jsonl"))], {"nframes": 2, "max_pixels": 3136}, 0)


@pytest.mark.parametrize(("count", "limit"), FLAT)
def test_the_memory_of_a_worker_stays_flat(count: int, limit: float, tmp_path: Path) -> None:
    rows = rows_of(tmp_path, count)
    collator = Collator(Vega3DProcessor(processors.host_processor()))
    loader = DataLoader(rows, batch_size=4, collate_fn=Weighed(collator), num_workers=1)  # type: ignore[arg-type]
    sizes = np.array(list(loader), dtype=float)
    later = np.arange(len(sizes)) > len(sizes) // 3  # caches of the libraries are filled by then
    slope = np.polyfit(4 * np.arange(len(sizes))[later], sizes[later], 1)[0]
    print(f"{slope:.1f} bytes a sample over {count} samples, {sizes[-1] / 2**20:.0f} MiB at the end")
    assert slope < limit
