"""Packages of the BioImage Model Zoo: bundles are exported as ONNX with their card, and imported again.

A package contains the files of the bundle as attachments. Packages of other programs have no bundle and are not
imported: their networks are not of the architectures here, and their results have no threshold or calibration.

The description follows version 0.5 of the format. It is written without the library of the zoo, which the tests use to
check packages and to run them: as JSON, it takes fewer lines than with the classes of the library.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.files import atomic_file, hash_file
from napari_melanoma.models import CATEGORIES, IMAGE
from napari_melanoma.models.bundle import CARD, CONFIG, WEIGHTS, BundleInfo, check_weights, read_bundle
from napari_melanoma.models.export import export_bundle

SUFFIX = ".zip"
DESCRIPTION, FORMAT_VERSION = "rdf.yaml", "0.5.4"
ONNX_FILE, OUTPUT = "network.onnx", "probability"
ATTACHED = re.compile(r"[\w-]+\.(?:json|safetensors)", re.ASCII)
DOI = re.compile(r"10\.\d{4,9}/[^\s,;)]+")
ONE_VIEW = "The network predicts a whole image: napari-melanoma adds closer views of the lesion. "
LICENSE = re.compile(r"[A-Za-z0-9.-]*[0-9][A-Za-z0-9.-]*|MIT|ISC|Unlicense|Zlib")  # SPDX: nearly all have a version
MAX_BYTES = 4 * 2**30  # of a file in a package that is imported


def export_package(info: BundleInfo, out: Path) -> Path:
    """Export a bundle as a package of the BioImage Model Zoo.

    The input of the network is pixels, and its output the probability of each class, as in this program before
    smoothing.
    """
    config = info.config
    if out.suffix.lower() != SUFFIX:
        raise ConfigError(f"a package of the BioImage Model Zoo needs the suffix {SUFFIX}, found '{out.name}'.")
    if not info.card.strip():
        raise BundleError(f"'{info.name}' has no card. Describe the model in {info.path / CARD} first.")
    if not LICENSE.fullmatch(config.licence):
        raise BundleError(
            f"the license of '{info.name}' is '{config.licence}', expected an identifier of SPDX such as CC-BY-4.0. "
            f"Set it in the recipe, or in {info.path / CONFIG}."
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        export_bundle(info, folder / ONNX_FILE)
        for path in info.path.iterdir():
            if path.name == CARD or ATTACHED.fullmatch(path.name):
                shutil.copyfile(path, folder / path.name)
        # JSON is YAML, too.
        (folder / DESCRIPTION).write_text(json.dumps(_describe(info, folder), indent=2), encoding="utf-8")
        with atomic_file(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as package:
            for path in sorted(folder.iterdir()):
                package.write(path, path.name)
    return out


def _describe(info: BundleInfo, folder: Path) -> dict[str, Any]:
    """Return the description of the exported network in a folder, and write tensors to test it."""
    import onnx

    config = info.config
    inputs, output = _run_test(folder / ONNX_FILE, config.input_size)
    for name, values in {**inputs, OUTPUT: output}.items():
        np.save(folder / f"{name}.npy", values)
    version = next(item.version for item in onnx.load(folder / ONNX_FILE).opset_import if not item.domain)
    return {
        "format_version": FORMAT_VERSION,
        "type": "model",
        "name": _title(config.name),
        "description": f"{config.title}. {ONE_VIEW * bool(config.closer_views)}Research use only; not for diagnosis."[
            :1024
        ],
        "documentation": CARD,
        "license": config.licence,
        "cite": _cite(config.architecture),
        "tags": ["napari-melanoma", "melanoma", "dermatology", config.task, *config.modalities],
        "attachments": [_file(path) for path in sorted(folder.iterdir()) if ATTACHED.fullmatch(path.name)],
        "inputs": [_describe_input(name, values, folder) for name, values in inputs.items()],
        "outputs": [_describe_output(config.classes, output, folder)],
        "weights": {"onnx": {**_file(folder / ONNX_FILE), "opset_version": version}},
        "config": {"napari_melanoma": config.model_dump(mode="json")},
    }


def _title(name: str) -> str:
    """Return the name of a model in the characters and the length (5 to 128) that the zoo allows."""
    title = re.sub(r"[^\w+ ()-]", "-", name, flags=re.ASCII)[:128]
    return title if len(title) >= 5 else f"napari-melanoma {title}"


def _file(path: Path) -> dict[str, str]:
    return {"source": path.name, "sha256": hash_file(path)}


def _cite(architecture: str) -> list[dict[str, str]]:
    """Return the paper of an architecture, if its reference has a DOI."""
    from napari_melanoma.models.zoo import list_architectures

    listed = list_architectures().get(architecture)
    reference = listed.spec.reference if listed else ""
    found = DOI.search(reference)
    return [{"text": reference, "doi": found[0].rstrip(".")}] if found else []


def _describe_input(name: str, values: NDArray[Any], folder: Path) -> dict[str, Any]:
    axes: list[dict[str, Any]] = [{"type": "batch"}]
    if name == IMAGE:
        axes += [*_pixel_axes(values.shape[1]), _channels(["red", "green", "blue"])]
        data: dict[str, Any] = {"type": "uint8", "range": [0, 255]}
        text = "RGB pixels of a photograph"
    else:  # only channels can have names
        axes.append(_channels([f"{name}{index}" for index in range(values.shape[1])]))
        data = {"type": str(values.dtype)}
        text = f"patient data: {'words' if name == CATEGORIES else 'numbers'}, encoded as config.json states"
    tensor = _file(folder / f"{name}.npy")
    return {"id": name, "description": text, "axes": axes, "data": data, "test_tensor": tensor}


def _describe_output(classes: tuple[str, ...], output: NDArray[Any], folder: Path) -> dict[str, Any]:
    """Describe probabilities, (batch, class) or (batch, class, row, column)."""
    axes = [{"type": "batch"}, _channels([_zoo_name(name, index) for index, name in enumerate(classes)])]
    steps: list[dict[str, Any]] = []
    if output.ndim == 4:
        axes += _pixel_axes(output.shape[2])
        steps = [{"id": "sigmoid"} if len(classes) == 1 else {"id": "softmax", "kwargs": {"axis": "channel"}}]
    return {
        "id": OUTPUT,
        "description": "probability of each class",
        "axes": axes,
        "data": {"type": "float32", "range": [0, 1]},
        "postprocessing": steps,
        "test_tensor": _file(folder / f"{OUTPUT}.npy"),
    }


def _pixel_axes(side: int) -> list[dict[str, Any]]:
    return [{"type": "space", "id": axis, "size": side} for axis in ("y", "x")]


def _channels(names: list[str]) -> dict[str, Any]:
    return {"type": "channel", "channel_names": names}


def _zoo_name(name: str, index: int) -> str:
    """Return a class name as the zoo writes names: lower case, with underscores."""
    text = re.sub(r"\W+", "_", name.lower(), flags=re.ASCII).strip("_")
    return text if text.isidentifier() else f"class_{index}"


def _run_test(path: Path, side: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.float32]]:
    """Run an exported network on a dark disk on bright skin; return its inputs and the probabilities.

    The library of the zoo refuses inputs of zeros, so encoded patient data are ones.
    """
    import onnxruntime

    rows, columns = np.mgrid[:side, :side] - side / 2
    lesion = (np.hypot(rows, columns) < side / 4)[..., None]
    grain = np.random.default_rng(0).normal(0, 8, (side, side, 3))
    image = (np.where(lesion, (90, 50, 40), (230, 190, 170)) + grain).clip(0, 255).astype(np.uint8)[None]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    inputs = {
        node.name: image
        if node.name == IMAGE
        else np.ones((1, int(node.shape[1])), np.int64 if node.name == CATEGORIES else np.float32)
        for node in session.get_inputs()
    }
    (output,) = session.run(None, inputs)
    return inputs, _probabilities(output) if output.ndim == 4 else output


def _probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply the sigmoid to one class, and the softmax to several; logits (batch, class, row, column)."""
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    if logits.shape[1] == 1:
        return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
    return (powers / powers.sum(1, keepdims=True)).astype(np.float32)


def read_package(path: Path, folder: Path) -> BundleInfo:
    """Extract the bundle of a package to an empty folder; raise if it contains none."""
    try:
        with zipfile.ZipFile(path) as package:
            members = {item.filename: item for item in package.infolist()}
            _require_bundle(path, members)
            for name, item in members.items():
                if name == CARD or ATTACHED.fullmatch(name):
                    _extract(package, item, folder / name)
    except (OSError, zipfile.BadZipFile) as error:
        raise BundleError(f"cannot read {path}: {error}. Download or copy it again.") from error
    check_weights(folder / WEIGHTS)
    return read_bundle(folder)


def _require_bundle(path: Path, members: Mapping[str, object]) -> None:
    if CONFIG in members and WEIGHTS in members:
        return
    is_package = DESCRIPTION in members or "bioimageio.yaml" in members
    kind = "a package of the BioImage Model Zoo of another program" if is_package else "no package"
    raise BundleError(
        f"{path} is {kind}, expected one that 'napari-melanoma models export --format bioimageio' wrote. Add the "
        "network of another program as a plug-in, or use its weights as initial weights."
    )


def _extract(package: zipfile.ZipFile, item: zipfile.ZipInfo, target: Path) -> None:
    """Extract a file; the size that the archive states is not trusted."""
    with package.open(item) as source, target.open("wb") as file:
        while block := source.read(1 << 20):
            if file.tell() + len(block) > MAX_BYTES:
                raise BundleError(f"{item.filename} in {package.filename} is larger than {MAX_BYTES >> 30} GiB.")
            file.write(block)
