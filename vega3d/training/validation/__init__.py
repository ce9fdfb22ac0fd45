"""``vega3d validate``: everything that would stop or spoil a run, found before any GPU time, all at once.

report = validate("configs/train/rooms_pico_lora.yaml", gpus=1)
report.findings        # problems; empty for a run that can start
"""

from vega3d.training.validation.check import validate
from vega3d.training.validation.plan import Options
from vega3d.training.validation.report import Report, as_text

__all__ = ["Options", "Report", "as_text", "validate"]
