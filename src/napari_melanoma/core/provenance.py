"""Provenance of a result: software versions, machine and a fingerprint of the input; no names of persons or paths."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from numpy.typing import NDArray

PACKAGES = ("napari", "numpy", "scikit-image", "scipy", "onnxruntime", "torch", "torchvision", "lightning", "timm")
BACKEND_NAMES = {"onnxruntime": "ONNX Runtime", "torch": "PyTorch"}
UNKNOWN_TIME = datetime.min.replace(tzinfo=UTC)
_backends: set[str] = set()


def collect_provenance() -> dict[str, object]:
    """Describe software and machine; reads package metadata only, without heavy imports.

    Returns ``program``, ``version``, ``python``, ``platform``, ``packages``, ``plugins`` (versions of the packages that
    add something; missing if there are none), ``backends`` (those that ran networks in this process; missing if there
    were none) and ``created`` (UTC, ISO 8601).
    """
    from napari_melanoma import __version__
    from napari_melanoma.core.plugins import PACKAGE, list_plugins

    plugins = {plugin.package: plugin.version for plugin in list_plugins() if plugin.package != PACKAGE}

    return {
        "program": "napari-melanoma",
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "packages": {name: version for name in PACKAGES if (version := installed_version(name))},
        **({"plugins": plugins} if plugins else {}),
        **({"backends": sorted(_backends)} if _backends else {}),
        "created": utc_time(),
    }


def describe_other_version(provenance: Mapping[str, object]) -> str:
    """State that a file was written by another version than this one; "" if by this one, or if that is unknown."""
    from napari_melanoma import __version__

    version = provenance.get("version")
    if provenance.get("program") != "napari-melanoma" or version in (None, __version__):
        return ""
    return f"It was written by version {version} of napari-melanoma; this is version {__version__}."


def record_backend(package: str) -> None:
    """Name a package that runs networks, ``"onnxruntime"`` or ``"torch"``, in the provenance from now on."""
    _backends.add(package)


def add_backends(provenance: Mapping[str, object], backends: Collection[str]) -> dict[str, object]:
    """Add the back ends of other processes that contributed to a result; those that are unknown are empty."""
    known = {*cast("Collection[str]", provenance.get("backends") or ()), *filter(None, backends)}
    return {**provenance, **({"backends": sorted(known)} if known else {})}


def describe_device(device: str, backend: str | None) -> str:
    """Describe where a network ran, such as ``cpu (ONNX Runtime)``; ``backend``: empty or None if unknown."""
    return f"{device} ({BACKEND_NAMES[backend]})" if backend in BACKEND_NAMES else device


def array_fingerprint(array: NDArray) -> str:
    """Return the SHA-256 of an array's shape, dtype and content."""
    import numpy as np

    digest = hashlib.sha256(f"{array.shape} {array.dtype.str} ".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@cache  # reading metadata takes 5 ms, and a batch needs it for every photograph
def installed_version(name: str) -> str | None:
    """Return the version of a package, or None if it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def utc_time() -> str:
    """Return the current time as files store it: UTC, ISO 8601, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def parse_time(when: str) -> datetime:
    """Parse a time in ISO 8601, UTC if it has no zone; the earliest time if it is invalid."""
    try:
        time = datetime.fromisoformat(when)
    except ValueError:
        return UNKNOWN_TIME
    return time if time.tzinfo else time.replace(tzinfo=UTC)
