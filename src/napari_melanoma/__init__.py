"""Melanoma imaging: lesion masks, measurements, class probabilities, whole-slide images and Breslow thickness.

``__init__.pyi`` lists the public Python API; all other modules are internal. The API follows semantic versioning: until
version 1.0 a minor version may change it, with a deprecation warning one minor version earlier. Each name is imported
when it is first used, so that ``import napari_melanoma`` is fast. ``napari_melanoma.tools`` has forms for napari.
"""

from __future__ import annotations

from typing import Any

import lazy_loader

_load_name, _list_names, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.remove("tools")  # importing it needs a Qt binding


def __dir__() -> list[str]:
    return _list_names()


def __getattr__(name: str) -> Any:  # noqa: ANN401 - functions and classes
    """Import a public name, or read the version, when it is first used."""
    if name == "tools":
        from importlib import import_module

        return import_module("napari_melanoma.ui.tools")
    if name in __all__:
        return _load_name(name)
    if name != "__version__":
        raise AttributeError(_describe_unknown(name))
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version("napari-melanoma")
    except PackageNotFoundError:  # a source tree that was never installed
        installed = "0+unknown"
    globals()[name] = installed
    return installed


def _describe_unknown(name: str) -> str:
    """Return the error message for an unknown name; it suggests the most similar public name."""
    from difflib import get_close_matches

    similar = get_close_matches(name, __all__, 1)
    advice = f"Did you mean '{similar[0]}'?" if similar else "The public names are listed in napari_melanoma.__all__."
    return f"napari_melanoma has no attribute '{name}'. {advice}"
