"""Versions of Python and of every library that matters, against what vega3d itself declares.

The requirements are read from vega3d's own installed metadata, so they cannot disagree with what pip
enforces. Nothing is imported but for torchvision, whose pairing with torch only shows when its compiled part
loads.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from vega3d._version import __version__
from vega3d.doctor import Check, judged

OPTIONAL = {
    "peft": ("LoRA", "pip install 'vega3d[train]'"),
    "qwen-vl-utils": ("scripts from Qwen's model cards", "pip install 'vega3d[qwen]'"),
    "flash-attn": ("attention on a GPU; torch's own is used without it", "pip install flash-attn"),
    "deepspeed": ("ZeRO, training on several GPUs", "pip install deepspeed"),
}
VISION_STEP = 15  # torchvision 0.(n + 15) belongs to torch 2.n


def python() -> Iterator[Check]:
    """The interpreter."""
    interpreter = f"{platform.python_version()} ({platform.system()} {platform.machine()})"
    try:
        needed = metadata("vega3d")["Requires-Python"] or ""
    except PackageNotFoundError:
        needed = ""
    fits = SpecifierSet(needed).contains(platform.python_version(), prereleases=True)
    yield judged("python", interpreter, fits, f"make an environment with Python {needed}")


def required() -> Iterator[Check]:
    """Requirements that vega3d declares."""
    try:
        declared = [Requirement(text) for text in requires("vega3d") or ()]
    except PackageNotFoundError:
        yield Check("vega3d", f"{__version__}, not installed", "note", "pip install -e . in its folder")
        return
    for requirement in declared:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield against(requirement)


def against(requirement: Requirement) -> Check:
    """Check what is installed against one requirement."""
    installed = _version(requirement.name)
    if installed is None:
        return Check(requirement.name, "missing", "problem", f"pip install '{requirement}'")
    fits = requirement.specifier.contains(installed, prereleases=True)
    found = installed if fits else f"{installed}, too old or new"
    return judged(requirement.name, found, fits, f"pip install '{requirement.name}{requirement.specifier}'")


def torchvision() -> Iterator[Check]:
    """Check that torchvision is there, belongs to torch, and loads."""
    installed, torch = _version("torchvision"), _version("torch")
    if torch is None:
        return  # `required` reports it
    fix = f"pip install --no-deps 'torchvision=={_partner(torch)}.*'"
    if installed is None:
        what = "not installed; vega3d does not need it, scripts that use qwen-vl-utils do"
        yield Check("torchvision", what, "note", fix)
        return
    needed = [Requirement(text) for text in requires("torchvision") or ()]
    wrong = [r for r in needed if r.name == "torch" and not r.specifier.contains(torch, prereleases=True)]
    found = f"{installed} is for torch{wrong[0].specifier}, not {torch}" if wrong else _loading(installed)
    yield judged("torchvision", found, not wrong, fix)


def _loading(installed: str) -> str:
    """The version, and whether its compiled part loads or vega3d stands in for it."""
    from vega3d._utils import torchvision as _torchvision

    _torchvision.ensure_torchvision_imports()
    what = "its compiled part does not load beside this torch; vega3d needs none of it and stands in"
    return installed if _torchvision._library is None else f"{installed}, {what}"


def _partner(torch: str) -> str:
    """The release of torchvision that belongs to one of torch."""
    number = Version(torch)
    return f"0.{number.minor + VISION_STEP}" if number.major == 2 else "0"


def optional() -> Iterator[Check]:
    """Libraries that add something and may be missing."""
    for name, (purpose, fix) in OPTIONAL.items():
        installed = _version(name)
        yield judged(name, installed or f"not installed; for {purpose}", installed is not None, fix, "note")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (python, required, torchvision, optional)
