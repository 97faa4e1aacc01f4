"""Faults of a configuration, said by the options that a person typed: of a configuration nobody there knows."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer

from napari_melanoma.core.errors import ConfigError

if TYPE_CHECKING:
    from napari_melanoma.core.errors import ConfigFault, MelanomaError

UNITS = ("_um", "_px", "_mm")  # in the names of fields, and not in those of options
OPTION_NAMES = {"classify.model": "classifier", "measured": "images"}  # fields that verbs call by another name


def explain_by_options(error: MelanomaError) -> str:
    """Say an error by the options of the verb that runs.

    Its own message, unless all that is wrong are values that were given as options.
    """
    if not isinstance(error, ConfigError) or not error.faults:
        return str(error)
    said = [_format_fault(fault) for fault in error.faults]
    return str(error) if None in said else f"{'; '.join(dict.fromkeys(filter(None, said)))}."


def _format_fault(fault: ConfigFault) -> str | None:
    """Say a fault by its option; None where it has none, or where another value was given there."""
    for name in _option_names(fault.key):
        option, given = _find_option(name)
        if option and fault.found in (given, *(given if isinstance(given, list | tuple) else ())):
            found = f"{fault.found:g}" if isinstance(fault.found, float) else fault.found
            return f"{option} is {found}: {fault.expected.rstrip('.')}"
    return None


def _option_names(key: str) -> Iterator[str]:
    """Names that an option for a field may have."""
    parts = [part for part in key.split(".") if not part.isdigit()]
    if key in OPTION_NAMES:
        yield OPTION_NAMES[key]
    for name in parts[-1:]:
        yield name
        yield from (name.removesuffix(unit) for unit in UNITS if name.endswith(unit))


def _find_option(name: str) -> tuple[str, object]:
    """How an option of the verb that runs is typed, and what was given; empty where it has none of that name."""
    context = _current_context()
    for parameter in context.command.params if context else ():
        if parameter.name.rstrip("_") == name and parameter.opts:  # as in format_, for format is Python's
            return max(parameter.opts, key=len), context.params.get(parameter.name)
    return "", None


def _current_context() -> Any:  # noqa: ANN401 - of click, or of the copy of it that newer versions of typer carry
    """The call of the verb that runs; None outside of one."""
    carried = typer.Context.__mro__[1].__module__.rpartition(".")[0]
    return import_module(f"{carried}.globals").get_current_context(silent=True)
