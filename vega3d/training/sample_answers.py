"""Answers of the model while it trains, every N steps: a falling loss does not show what it writes.

Answers are greedy, and the model's mode and the last features of the swap are put back, so a run with sample
answers ends with the same weights and the same metrics as one without.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import TrainerCallback

from vega3d._utils import files
from vega3d._utils.progress import note
from vega3d.data import Row
from vega3d.processing import Vega3DProcessor
from vega3d.training.config import AnswerSettings
from vega3d.training.sampler import texts_of
from vega3d.training.trained import adapter_of

if TYPE_CHECKING:
    from vega3d.training.trainer import Vega3DTrainer

FILE = "sample_answers.jsonl"


class SampleAnswers(TrainerCallback):  # type: ignore[misc]  # untyped
    """Asks the same rows every few steps; prints the answers and appends them to ``sample_answers.jsonl``.

    All processes generate, as ZeRO-3 needs it; the first one writes.

    Args:
        trainer: of the run.
        processor: of the model.
        settings: how often, and how many rows.
        rows: their last answers are asked for; rows without one are left out.
    """

    def __init__(
        self,
        trainer: Vega3DTrainer,
        processor: Vega3DProcessor,
        settings: AnswerSettings,
        rows: Iterable[Row],
    ) -> None:
        self.trainer, self.processor, self.settings = trainer, processor, settings
        answered = (row for row in rows if _last_answer(row) > 0)
        self.rows = list(islice(answered, settings.rows))

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer: steps that are trained again write their answers again."""
        file = Path(args.output_dir) / FILE
        if state.is_world_process_zero and file.exists():
            lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = "".join(line for line in lines if json.loads(line)["step"] <= state.global_step)
            files.write_whole(file, lambda part: part.write_text(kept, encoding="utf-8"))

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called by the Trainer."""
        if self.settings.every is None or state.global_step % self.settings.every:
            return
        records = [{"step": state.global_step, **record} for record in self.answers()]
        if state.is_world_process_zero:
            with (Path(args.output_dir) / FILE).open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            for record in records:
                asked, answer, expected = record["question"], record["answer"], record["expected"]
                note(f"step {record['step']}: {asked[-80:]!r} -> {answer!r} (expected {expected!r})")

    def answers(self) -> list[dict[str, str]]:
        """One record a row: its question, the model's answer, and the expected one."""
        model, swap = self.trainer.model, self.trainer.swap
        was_training, features = model.training, swap.kept
        model.eval()
        try:
            with torch.no_grad(), self.trainer.accelerator.autocast():
                return [self._answer(row) for row in self.rows]
        finally:
            model.train(was_training)
            swap.kept = features

    def _answer(self, row: Row) -> dict[str, str]:
        last, adapter = _last_answer(row), adapter_of(self.trainer.model)
        inputs = self.processor.apply_chat_template(row.messages[:last]).to(adapter.device)
        length = inputs["input_ids"].shape[1]
        tokens = adapter.generate(**inputs, max_new_tokens=self.settings.max_new_tokens, do_sample=False)
        (text,) = self.processor.batch_decode(tokens[:, length:], skip_special_tokens=True)
        texts = ["".join(texts_of(message.get("content"))) for message in row.messages[last - 1 : last + 1]]
        return {"row": row.where, "question": texts[0].strip(), "answer": text.strip(), "expected": texts[-1]}


def _last_answer(row: Row) -> int:
    """Index of the last message of the assistant; 0 if none follows a question."""
    return max((n for n, message in enumerate(row.messages) if message["role"] == "assistant"), default=0)
