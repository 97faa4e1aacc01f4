"""Melanoma imaging: lesion masks, measurements, class probabilities, whole-slide images and Breslow thickness.

``__init__.pyi`` lists the public Python API; all other modules are internal. The API follows semantic versioning: until
version 1.0 a minor version may change it, with a deprecation warning one minor version earlier. Each name is imported
when it is first used, so that ``import napari_melanoma`` takes no time.
"""

from __future__ import annotations

from typing import Any

import lazy_loader

_load_name, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - functions and classes
    """Import a public name, or read the version, when it is first used."""
    if name != "__version__":
        return _load_name(name)
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("napari-melanoma")
    except PackageNotFoundError:  # a source tree that was never installed
        found = "0+unknown"
    globals()[name] = found
    return found
