"""``store.json``: the generator of a store and the form of its features. Written once, never changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vega3d._utils import files
from vega3d._version import __version__
from vega3d.errors import ConfigError, StoreError
from vega3d.store.format import GONE, REBUILD, FeatureFormat

ABOUT = "store.json"
FORMAT = (1, 0)  # major, minor


def exists(folder: Path) -> bool:
    """True if a folder holds a store."""
    return (folder / ABOUT).exists()


def write(folder: Path, record: Mapping[str, Any]) -> None:
    """Create a store: its folder and its description. An existing description is kept.

    Raises:
        StoreError: the folder cannot be written.
    """
    whole = {"format": f"{FORMAT[0]}.{FORMAT[1]}", "vega3d_version": __version__, **record}
    text = json.dumps(whole, indent=2, sort_keys=True) + "\n"
    folder = files.make_folder(folder, error=StoreError)
    files.write_first(folder / ABOUT, lambda part: part.write_text(text, encoding="utf-8"), error=StoreError)


def read(folder: Path) -> dict[str, Any]:
    """Read the description of a store.

    Raises:
        StoreError: the description is missing, damaged, or of a newer format.
    """
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        major = int(str(about["format"]).split(".")[0])
        missing = {"fingerprint", "backbone", "form", "identity"} - set(about)
        _refuse_gone(folder, about)
        FeatureFormat(**about.get("form", {}))
    except FileNotFoundError:
        raise _no_store(folder, f"no {ABOUT}") from None
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise _no_store(folder, f"{ABOUT} cannot be read ({type(error).__name__}: {error})") from error
    if major > FORMAT[0] or missing:
        raise _no_store(folder, f"format {about['format']}, without {sorted(missing)}")
    return about


def _refuse_gone(folder: Path, about: Mapping[str, Any]) -> None:
    """Refuse features that depend on one host's tokens: only version 0.1 reads them."""
    form, backbone = about.get("form", {}), about.get("backbone", {})
    if form.get("grid") in GONE or backbone.get("picture") == "matched":
        what = f"Cannot read the store {folder}: version 0.1 of vega3d is the last one that reads it."
        got = f"grid {form.get('grid')!r}, picture {backbone.get('picture')!r}"
        expected = "grid native or pooled, picture whole or reference"
        raise StoreError(what, got=got, expected=expected, fix=REBUILD)


def _no_store(folder: Path, got: str) -> StoreError:
    expected = f"a folder made by `vega3d cache build`, format {FORMAT[0]}.x"
    fix = "check the path; a newer format needs `pip install -U vega3d`"
    return StoreError(f"Cannot read the feature store {folder}.", got=got, expected=expected, fix=fix)
