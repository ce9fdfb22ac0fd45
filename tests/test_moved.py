"""Names that moved keep working for one version, with a warning; nothing is imported before they are used."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator

import pytest

from vega3d._utils import moved


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module in a package, neither of which exists any more."""
    monkeypatch.setitem(moved.MODULES, "vega3d.gone.errors", "vega3d.errors")
    yield "vega3d.gone.errors"
    for name in ("vega3d.gone.errors", "vega3d.gone"):
        sys.modules.pop(name, None)
    vars(sys.modules["vega3d"]).pop("gone", None)


def test_an_old_module_serves_the_names_of_the_new_one_with_a_warning(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=r"vega3d\.gone\.errors is now vega3d\.errors"):
        module = importlib.import_module(old)
    from vega3d.errors import InputError

    assert module.InputError is InputError
    assert "InputError" in dir(module)


def test_a_name_that_neither_module_has_is_an_attribute_error(old: str) -> None:
    with pytest.warns(DeprecationWarning, match="is now"):
        module = importlib.import_module(old)
    with pytest.raises(AttributeError):
        _ = module.nothing


def test_a_module_that_never_existed_is_still_missing() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("vega3d.never")


def test_a_renamed_name_is_found_with_a_warning() -> None:
    find = moved.names("vega3d.somewhere", {"Old": "vega3d.errors:InputError"})
    with pytest.warns(DeprecationWarning, match=r"somewhere\.Old is now vega3d\.errors\.InputError"):
        assert find("Old").__name__ == "InputError"
    with pytest.raises(AttributeError, match="has no attribute 'New'"):
        find("New")


@pytest.mark.parametrize("target", sorted(set(moved.MODULES.values())))
def test_the_new_home_of_a_moved_module_exists(target: str) -> None:
    assert importlib.import_module(target)


@pytest.mark.parametrize("name", sorted(moved.MODULES))
def test_a_moved_module_has_left_nothing_behind(name: str) -> None:
    found = importlib.import_module("importlib.machinery").PathFinder.find_spec(name)
    assert found is None
