"""Melanoma imaging in napari and on the command line; importing this package imports neither torch nor Qt."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-melanoma")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
