"""Faults of a configuration, said by the options that a person typed: of a configuration nobody there knows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from napari_melanoma.core.errors import ConfigError

if TYPE_CHECKING:
    from napari_melanoma.core.errors import Fault, MelanomaError

UNITS = ("_um", "_px", "_mm")  # in the names of fields, and not in those of options
NAMED_OTHERWISE = {"classify.model": "classifier", "measured": "images"}  # fields that verbs call by another name


def in_options(error: MelanomaError) -> str:
    """Say an error by the options of the verb that runs.

    Its own message, unless all that is wrong are values that were given as options.
    """
    if not isinstance(error, ConfigError) or not error.faults:
        return str(error)
    said = [_said(fault) for fault in error.faults]
    return str(error) if None in said else f"{'; '.join(dict.fromkeys(filter(None, said)))}."


def _said(fault: Fault) -> str | None:
    """Say a fault by its option; None where it has none, or where another value was given there."""
    for name in _names(fault.key):
        option, given = _option(name)
        if option and fault.found in (given, *(given if isinstance(given, list | tuple) else ())):
            found = f"{fault.found:g}" if isinstance(fault.found, float) else fault.found
            return f"{option} is {found}: {fault.expected.rstrip('.')}"
    return None


def _names(key: str) -> Iterator[str]:
    """Names that an option for a field may have."""
    parts = [part for part in key.split(".") if not part.isdigit()]
    if key in NAMED_OTHERWISE:
        yield NAMED_OTHERWISE[key]
    for name in parts[-1:]:
        yield name
        yield from (name.removesuffix(unit) for unit in UNITS if name.endswith(unit))


def _option(name: str) -> tuple[str, object]:
    """How an option of the verb that runs is typed, and what was given; empty where it has none of that name."""
    context = _context()
    for parameter in context.command.params if context else ():
        if parameter.name.rstrip("_") == name and parameter.opts:  # as in format_, for format is Python's
            return max(parameter.opts, key=len), context.params.get(parameter.name)
    return "", None


def _context() -> Any:  # noqa: ANN401 - of click, or of the copy of it that newer versions of typer carry
    """The call of the verb that runs; None outside of one."""
    carried = typer.Context.__mro__[1].__module__.rpartition(".")[0]
    return import_module(f"{carried}.globals").get_current_context(silent=True)
