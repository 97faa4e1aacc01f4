"""Packages that may be missing: whether they are installed, errors that state what to install, and torch's settings.

Predictions of models with graphs need neither torch nor the packages built on it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec

from napari_melanoma.core.errors import MissingPackage

NETWORK_PACKAGES = ("torch", "torchvision", "timm", "segmentation_models_pytorch")  # they build and run networks
TORCH_PACKAGES = (*NETWORK_PACKAGES, "lightning", "captum")


def is_installed(package: str) -> bool:
    """Whether a package can be found; it is not imported."""
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):  # blocked by an import hook; a loaded module without __spec__
        return False


def list_missing(packages: Iterable[str]) -> list[str]:
    """List the packages that are not installed, by the names that pip knows."""
    return [package.replace("_", "-") for package in packages if not is_installed(package)]


def require_packages(subject: str, packages: Iterable[str], otherwise: str = "") -> None:
    """Raise if packages are not installed; ``otherwise``: what a user can do instead."""
    if missing := list_missing(packages):
        raise _missing_error(subject, missing, otherwise)


def require_torch(subject: str, otherwise: str = "") -> None:
    """Raise if torch is not installed; the error lists all packages that build and run networks."""
    if not is_installed("torch"):
        require_packages(subject, NETWORK_PACKAGES, otherwise)


def require_training_packages() -> None:
    """Raise if packages for training are not installed."""
    require_packages("training", TORCH_PACKAGES)


def explain_import_error(error: ImportError) -> MissingPackage | None:
    """Return the error for users if torch or a package built on it is not installed; None for other packages."""
    package = (error.name or "").partition(".")[0]
    if package not in TORCH_PACKAGES or is_installed(package):
        return None
    return _missing_error("this step", list_missing(dict.fromkeys((package, *NETWORK_PACKAGES))), "")


def _missing_error(subject: str, missing: list[str], otherwise: str) -> MissingPackage:
    is_one = len(missing) == 1
    names = f"{', '.join(missing[:-1])} and {missing[-1]}" if len(missing) > 1 else missing[0]
    alternative = f", or {otherwise}" if otherwise else ""
    return MissingPackage(
        f"{subject} needs {names}, which {'is' if is_one else 'are'} not installed. Install "
        f"{'it' if is_one else 'them'}: pip install {' '.join(missing)}{alternative}."
    )


def prepare_torch() -> None:
    """Set the environment variables of torch that the user did not set; call this before torch is imported."""
    # Torch's threads spin while they wait: with other work on 2 cores, a forward pass took four times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Operations that torch lacks on Apple's GPUs, such as antialiased resizing in torch 2.5, then run on the CPU.
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")
