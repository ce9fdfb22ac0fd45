"""Claims of runs that a build is computing right now, so that several builds share the work.

Each build keeps one small file in the store that names the runs of its batch. Claims are advice: without them
a run is computed twice, which costs time and changes nothing. So there is no lock that a killed build could
leave behind. Its claim ends with its process on the same machine, and with ``patience`` on another one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator, Set
from pathlib import Path

from vega3d._utils.files import is_abandoned, part_of

PATIENCE = 30.0  # seconds that a claim holds at least
BATCHES = 3.0  # and as many times the longest batch of this build


class Claims:
    """The claim of one build, and those of others.

    Args:
        folder: folder of the store.
        patience: seconds that the claim of another build is valid; longer if batches take long.
    """

    def __init__(self, folder: Path, patience: float = PATIENCE) -> None:
        self.folder, self.patience = folder, patience
        # Named as a half-written file: what a killed build leaves is swept up as those are.
        self.file = part_of(folder / "claim")

    def __enter__(self) -> Claims:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def claiming(self, digests: Collection[str]) -> Iterator[Set[str]]:
        """Claim runs while the block computes them; yields those that no other build has claimed."""
        start = time.monotonic()
        free = {*digests} - self.taken()
        self._write(free)
        # Of two builds that claim at the same moment, the second one to write sees the other here. If both
        # see each other, both give way and try again later.
        if lost := free & self.taken():
            free -= lost
            self._write(free)
        try:
            yield free
        finally:
            self._write(())
            self.patience = max(self.patience, BATCHES * (time.monotonic() - start))

    def taken(self) -> set[str]:
        """Runs that other builds have claimed."""
        claimed: set[str] = set()
        for file in self.folder.glob(".claim.*.part"):
            if file != self.file:
                with contextlib.suppress(OSError):  # its build has ended
                    if not is_abandoned(file, older=self.patience):
                        claimed.update(file.read_text(encoding="utf-8").split())
        return claimed

    def _write(self, digests: Collection[str]) -> None:
        with contextlib.suppress(OSError):  # a full disk is reported by what has to be written
            self.file.write_text("\n".join(digests), encoding="utf-8")
