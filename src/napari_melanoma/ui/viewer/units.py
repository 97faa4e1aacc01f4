"""The units of layers: pint reads their definitions with the first layer, which would block the window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pint import UnitRegistry


def read_units() -> UnitRegistry:
    """Read the definitions of pint, as it does itself; call this in a thread."""
    from pint import LazyRegistry

    registry: Any = LazyRegistry()
    _ = registry.micrometer  # the first unit turns it into a complete registry
    units: UnitRegistry = registry
    return units


def use_units(registry: UnitRegistry) -> None:
    """Let pint use a registry of ``read_units``, unless it has read its own by now, which units refer to."""
    from pint import LazyRegistry, get_application_registry, set_application_registry

    if isinstance(get_application_registry().get(), LazyRegistry):
        set_application_registry(registry)
