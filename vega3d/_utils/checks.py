"""Checks of settings that dataclasses share; each raises a ``ConfigError``."""

from __future__ import annotations

from typing import Literal, get_args, get_origin, get_type_hints

from vega3d.errors import ConfigError, unknown_choice


def require(condition: bool, what: str, got: object, expected: str, fix: str) -> None:
    """Refuse a setting.

    Raises:
        ConfigError: ``condition`` is false.
    """
    if not condition:
        raise ConfigError(what, got=repr(got), expected=expected, fix=fix)


def require_at_least(settings: object, lowest: Literal[0, 1], *names: str) -> None:
    """Refuse settings below 0 or 1; None is allowed, and of a tuple each entry counts.

    Raises:
        ConfigError: a value is too small.
    """
    for name in names:
        value = getattr(settings, name)
        values = value if isinstance(value, tuple) else (lowest if value is None else value,)
        title = f"Invalid {name} {value}: it is {'negative' if lowest == 0 else 'not positive'}."
        require(min(values, default=lowest - 1) >= lowest, title, value, f"{lowest} or more", "leave it out")


def require_choice(kind: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuse a value that is not among ``choices``.

    Raises:
        ConfigError: the value is not among ``choices``.
    """
    if value not in choices:
        raise unknown_choice(kind, value, choices)


def require_choices(settings: object) -> None:
    """Refuse a value that is not among the choices of its field, a ``Literal``.

    Raises:
        ConfigError: a value is not among the choices.
    """
    for name, kind in get_type_hints(type(settings)).items():
        if get_origin(kind) is Literal:
            require_choice(name, getattr(settings, name), get_args(kind))


def require_sigma(sigma: float) -> None:
    """Refuse a noise level outside 0..1; also refuses nan.

    Raises:
        ConfigError: ``sigma`` is out of range.
    """
    expected = "a noise level of flow matching: 0 is the clean latent, 1 is pure noise"
    fix = f"if you meant timestep {sigma:g} of 1000, pass sigma={sigma / 1000:g}"
    require(0.0 <= sigma <= 1.0, f"Invalid sigma {sigma!r}: it is outside [0, 1].", sigma, expected, fix)
