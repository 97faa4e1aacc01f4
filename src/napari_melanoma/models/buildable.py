"""Whether a network can be built with what is installed, found out without importing torch or timm."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.parsing import parse_json

ENCODERS = {"timm": "models", "segmentation_models_pytorch": "encoders"}  # package, folder of the files that name them


@cache
def why_not_built(architecture: str, options: str) -> str:
    """Say why a network cannot be built.

    A sentence; empty where it can, as far as names and options tell.
    """
    from napari_melanoma.models.zoo import architectures

    known = architectures()
    if architecture not in known:
        return f"its architecture '{architecture}' is not installed (installed: {', '.join(known)})."
    try:
        config = known[architecture].spec.config.parse(
            parse_json(options, f"the options of '{architecture}'"), f"the options of '{architecture}'"
        )
    except ConfigError as error:
        return f"its architecture '{architecture}' has no such options here: {error}"
    encoder = getattr(config, "encoder", None)
    if not isinstance(encoder, str):
        return ""
    missing = [package.replace("_", "-") for package in ENCODERS if find_spec(package) is None]
    if missing:
        return f"the package {' and '.join(missing)} is not installed: pip install {' '.join(missing)}."
    if _is_named(encoder):
        return ""
    return f"its encoder '{encoder}' is in neither the installed timm nor segmentation-models-pytorch: update both."


def _is_named(encoder: str) -> bool:
    """Whether a source file of a package defines or quotes an encoder; True where there are no source files."""
    name = encoder.removeprefix("tu-").split(".")[0].encode()
    there = [b"def " + name + b"(", b'"' + name + b'"', b"'" + name + b"'"]
    files = [file for package, folder in ENCODERS.items() for file in _sources(package, folder)]
    return not files or any(word in content for content in map(Path.read_bytes, files) for word in there)


def _sources(package: str, folder: str) -> list[Path]:
    """Source files of a folder of an installed package."""
    spec = find_spec(package)
    places = (spec.submodule_search_locations if spec else None) or ()
    return sorted(file for place in places for file in (Path(place) / folder).rglob("*.py"))
