"""Checks of an installation: missing or wrong libraries, the machine, and a numeric self-test.

Three groups of checks: libraries, machine, and a self-test that runs the shipped tiny models. Each check
gives its result and, for a problem, the fix. Nothing is downloaded. The checks are made for broken
installations: a library is imported only inside the check that needs it, and a check that fails does not end
the others.
"""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from vega3d._version import __version__

Status = Literal["ok", "note", "problem"]
GROUPS = ("libraries", "machine", "selftest")


@dataclass(frozen=True)
class Check:
    """Result of one check.

    Attributes:
        name: of the part that was checked.
        found: result in one line.
        status: ``problem`` if vega3d will not work, ``note`` if something could be better or is optional.
        fix: what to do about it; None if nothing is needed.
    """

    name: str
    found: str
    status: Status = "ok"
    fix: str | None = None


def judged(name: str, found: str, good: bool, fix: str | None, otherwise: Status = "problem") -> Check:
    """A check with a fix unless the result is good."""
    return Check(name, found) if good else Check(name, found, otherwise, fix)


@dataclass(frozen=True)
class Report:
    """All checks by group."""

    groups: dict[str, tuple[Check, ...]]

    @property
    def healthy(self) -> bool:
        """True if no check found a problem."""
        return not any(check.status == "problem" for checks in self.groups.values() for check in checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for a bug report."""
        groups = {name: [asdict(check) for check in checks] for name, checks in self.groups.items()}
        return {"vega3d": __version__, "healthy": self.healthy, **groups}


def examine(groups: Iterable[str] = GROUPS, say: Callable[[str], None] = lambda text: None) -> Report:
    """Run groups of checks.

    Args:
        groups: of ``GROUPS``, in order.
        say: called with the name of each group before it is run.
    """
    results: dict[str, tuple[Check, ...]] = {}
    for name in groups:
        say(name)
        results[name] = tuple(_guarded(name))
    return Report(results)


def _guarded(group: str) -> Iterator[Check]:
    """Checks of one group; one that breaks is a problem of its own."""
    try:
        checks = importlib.import_module(f"vega3d.doctor.{group}").CHECKS
    except Exception as error:
        yield broken(group, error)
        return
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            yield broken(check.__name__.replace("_", " "), error)


def broken(name: str, error: Exception) -> Check:
    """The check for something that should not fail and did."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    location = "".join(f" ({Path(frame.filename).name}:{frame.lineno})" for frame in last)
    text = (str(error).splitlines() or [""])[0]
    fix = "mend the libraries named above, then run `vega3d doctor` again; if none is, report this as a bug"
    found = f"{type(error).__name__}: {text}{location}"
    return Check(name, found, "problem", getattr(error, "fix", None) or fix)


def as_text(report: Report) -> str:
    """A line for each check, and below it what to do."""
    lines = [f"vega3d {__version__}"]
    for group, checks in report.groups.items():
        lines += ["", group]
        for check in checks:
            lines.append(f"  {_MARKS[check.status]:<8} {check.name}: {check.found}")
            if check.fix:
                lines.append(f"           fix: {check.fix}")
    verdict = "everything works" if report.healthy else "there are problems: see PROBLEM above"
    return "\n".join([*lines, "", verdict])


_MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
