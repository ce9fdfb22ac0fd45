"""A training run of a pico model that a clock bounds and a kill does not harm.

Decision: the schedule follows the seconds spent training, so a budget is met on any machine; all that must
survive a kill (weights, their moving average, optimizers, clock) is one safetensors file, replaced whole.
Matrices are trained by Muon, everything else by AdamW: at equal time Muon was far ahead for the host, the
VAE (27.2 against 22.7 dB after four minutes) and the video transformer alike. This module knows no model.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WARM_UP = 50  # steps
LOWEST = 0.02  # of the learning rate, at the end
SAVE_EVERY = 180.0  # seconds


class Run:
    """Modules in training, with their optimizers, moving average and clock.

    Args:
        folder: where the checkpoint lies.
        modules: what is trained, by name; ``average`` names those whose moving average is kept.
        matrices: the parameters that Muon takes; they may have more than two axes (convolutions).
        minutes: length of the run.
        lr: the highest learning rate.
        steps: length of the run in steps instead, for one that has to match another.
    """

    def __init__(
        self,
        folder: Path,
        modules: dict[str, nn.Module],
        matrices: Iterable[nn.Parameter],
        minutes: float,
        lr: float,
        average: Iterable[str] = (),
        weight_decay: float = 0.05,
        steps: int | None = None,
    ) -> None:
        self.folder, self.modules, self.lr = Path(folder), modules, lr
        self.minutes, self.steps = minutes, steps
        self.folder.mkdir(parents=True, exist_ok=True)
        self.parameters = [p for module in modules.values() for p in module.parameters()]
        self.pairs = [(p, nn.Parameter(p.detach().flatten(1))) for p in matrices]  # views of the same numbers
        own = {id(p) for p, _ in self.pairs}
        rest = [p for p in self.parameters if id(p) not in own]
        flat = [view for _, view in self.pairs]
        muon = torch.optim.Muon(
            flat, lr=lr, weight_decay=weight_decay, momentum=0.95, adjust_lr_fn="match_rms_adamw"
        )
        self.optimizers = [muon, torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.0)]
        self.averaged = {f"{m}.{n}": p for m in average for n, p in modules[m].named_parameters()}
        self.average = {name: p.detach().clone() for name, p in self.averaged.items()}
        self.step, self.seconds, self._saved = 0, 0.0, 0.0

    @property
    def done(self) -> float:
        """Share of the run that is over, 0..1."""
        if self.steps is not None:
            return min(1.0, self.step / self.steps)
        return min(1.0, self.seconds / (60 * self.minutes))

    def rate(self) -> float:
        """Learning rate now: a warm-up, then a cosine over the run."""
        warm = min(1.0, (self.step + 1) / WARM_UP)
        return self.lr * warm * (LOWEST + (1 - LOWEST) * 0.5 * (1 + math.cos(math.pi * self.done)))

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Everything inside counts as training time; a checkpoint is written when it is due."""
        begin = time.time()
        yield
        self.seconds += time.time() - begin
        if self.seconds > self._saved + SAVE_EVERY:
            self.save()

    def update(self) -> float:
        """One step of both optimizers and of the moving average; returns the gradients' norm."""
        norm = float(nn.utils.clip_grad_norm_(self.parameters, 1.0))
        for parameter, view in self.pairs:
            view.grad = None if parameter.grad is None else parameter.grad.flatten(1)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for parameter in self.parameters:
            parameter.grad = None
        self.step += 1
        self._update_average()
        return norm

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(0.995, (1 + self.step) / (10 + self.step))
        for name, parameter in self.averaged.items():
            self.average[name].lerp_(parameter, 1 - decay)

    @contextmanager
    def at_average(self) -> Iterator[None]:
        """Inside, the weights are their moving average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.averaged.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.average[name])
            self.average[name] = kept

    def save(self) -> None:
        """Write the checkpoint; the old one stays valid until the new one is complete."""
        tensors = {f"{m}.{n}": p.detach() for m, x in self.modules.items() for n, p in x.named_parameters()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for i, optimizer in enumerate(self.optimizers):
            for j, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{i}.{j}.{k}": torch.as_tensor(v) for k, v in state.items()}
        clock = {"step": str(self.step), "seconds": str(self.seconds)}
        scratch = self.folder / "checkpoint.part"
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, str(scratch), metadata=clock)
        os.replace(scratch, self.folder / "checkpoint.safetensors")
        self._saved = self.seconds

    def load(self) -> bool:
        """Go on from the folder's checkpoint, if there is one."""
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return False
        tensors = load_file(str(path))
        with torch.no_grad():
            for name, module in self.modules.items():
                for inner, parameter in module.named_parameters():
                    parameter.copy_(tensors[f"{name}.{inner}"])
        self.average = {name: tensors[f"average.{name}"] for name in self.average}
        states: list[dict[int, dict[str, Tensor]]] = [defaultdict(dict) for _ in self.optimizers]
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, i, j, kind = key.split(".")
                states[int(i)][int(j)][kind] = value
        for optimizer, state in zip(self.optimizers, states, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(state)})
        clock = read_clock(path)
        self.step, self.seconds = int(clock["step"]), float(clock["seconds"])
        self._saved = self.seconds
        return True


def mixed() -> torch.autocast:
    """Autocast to bfloat16 where the processor has tiles for it (AMX); elsewhere float32 is faster."""
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.12 has no such function
    return torch.autocast("cpu", torch.bfloat16, enabled=bool(capabilities.get("amx_bf16")))


def read_clock(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata())


def add_options(parser: argparse.ArgumentParser) -> None:
    """The settings that all trainings on clips share."""
    parser.add_argument("--capacity", type=int, default=3000, help="clips the training files have room for")
    parser.add_argument("--val", type=int, default=160, help="clips the held-out files have room for")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--eager", action="store_true", help="do not compile (no C++ compiler needed)")


def shown(args: argparse.Namespace) -> dict[str, Any]:
    """The settings without paths."""
    return {k: v for k, v in vars(args).items() if not isinstance(v, Path)}
