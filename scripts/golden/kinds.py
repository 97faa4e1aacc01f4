"""Read files of every kind that the product writes into values that can be compared."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import tomllib
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from golden.normalizing import Names, is_progress

Reader = Callable[[Path, Names], object]
TORCH_FLOAT = 4  # bytes
STREAMS = (".stdout.txt", ".stderr.txt", "log.txt", "output.txt", ".jsonl")
UNSEEN = ("script", "style")


def read_value(path: Path, names: Names) -> object:
    """Read a file as its ending says; what has no reader is text, or else bytes."""
    return READERS.get(path.suffix.lower(), read_text)(path, names)


def read_text(path: Path, names: Names) -> object:
    """Lines, those of JSON as their values, in a stream without progress; a checksum where it is no text."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return {"sha256": hashlib.sha256(content).hexdigest()}
    if path.name.endswith(STREAMS):
        text = "\n".join(line for line in text.splitlines() if not is_progress(line))
    return [_parsed(line, names) for line in names.lines(text)]


def read_json(path: Path, names: Names) -> object:
    """The parsed document, its texts cleaned."""
    text = path.read_text(encoding="utf-8")
    try:
        return cleaned(json.loads(text), names)
    except ValueError:  # some scenarios hand over a broken file
        return names.lines(text)


def read_toml(path: Path, names: Names) -> object:
    """The parsed document, its texts cleaned."""
    return cleaned(tomllib.loads(path.read_text(encoding="utf-8")), names)


def read_csv(path: Path, names: Names) -> object:
    """A mapping of each row, with numbers as such."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    return {
        "columns": header,
        "rows": [
            dict(zip(header, map(_cell, row, [names] * len(row)), strict=len(row) == len(header))) for row in rows
        ],
    }


def read_picture(path: Path, names: Names) -> object:
    """Mode, pixels and texts of a PNG, JPEG and the like."""
    from PIL import Image

    with Image.open(path) as picture:
        texts = {key: names.clean(value) for key, value in picture.info.items() if isinstance(value, str)}
        return {"mode": picture.mode, "pixels": np.asarray(picture), "texts": texts}


def read_tiff(path: Path, names: Names) -> object:
    """Pixels of every level of every series, with the description and the resolution of the pages."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        levels = {
            f"series {number} level {level}": page.asarray()
            for number, series in enumerate(file.series)
            for level, page in enumerate(series.levels)
        }
        tags = [
            {str(tag.name): cleaned(str(tag.value), names) for tag in page.tags if tag.name in TAGS}
            for page in file.pages
            if isinstance(page, tifffile.TiffPage)
        ]
    return {"levels": levels, "tags": tags}


TAGS = ("ImageDescription", "XResolution", "YResolution", "ResolutionUnit", "Compression", "Software")


def read_zarr(path: Path, names: Names) -> object:
    """Every array of a group with its attributes."""
    import zarr

    found: dict[str, object] = {}
    root = zarr.open(str(path), mode="r")
    members = root.members(max_depth=None) if isinstance(root, zarr.Group) else ()
    for name, node in (("", root), *members):
        found[f"{name} attributes"] = cleaned(dict(node.attrs), names)
        if isinstance(node, zarr.Array):
            found[name] = np.asarray(node[...])
    return found


def read_npy(path: Path, names: Names) -> object:
    """The array."""
    return np.load(path, allow_pickle=False)


def read_npz(path: Path, names: Names) -> object:
    """The arrays by name."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def read_safetensors(path: Path, names: Names) -> object:
    """The arrays by name, with the texts beside them."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return {"arrays": arrays, "texts": cleaned(file.metadata() or {}, names)}


def read_torch(path: Path, names: Names) -> object:
    """The stored tensors of a checkpoint, found without unpickling what a later version moved."""
    with zipfile.ZipFile(path) as archive:
        members = {name.split("/", 1)[-1]: archive.read(name) for name in archive.namelist()}
    sizes = {name: len(content) for name, content in members.items() if _is_tensor(name)}
    floats = {name: np.frombuffer(members[name], np.float32) for name in sizes if sizes[name] % TORCH_FLOAT == 0}
    return {"sizes": sizes, "values": floats}


def read_onnx(path: Path, names: Names) -> object:
    """Operations, weights and metadata of a network; of weights in another file, where they are."""
    import onnx
    from onnx import external_data_helper, numpy_helper

    model = onnx.load(str(path), load_external_data=False)

    def value(weight: onnx.TensorProto) -> object:
        if external_data_helper.uses_external_data(weight):
            return {entry.key: entry.value for entry in weight.external_data}
        return numpy_helper.to_array(weight)

    return {
        "operations": [node.op_type for node in model.graph.node],
        "weights": {weight.name: value(weight) for weight in model.graph.initializer},
        "metadata": {entry.key: _parsed(names.clean(entry.value), names) for entry in model.metadata_props},
    }


def read_parquet(path: Path, names: Names) -> object:
    """Columns as lists."""
    from pyarrow import parquet

    return cleaned(parquet.read_table(path).to_pydict(), names)


def read_dicom(path: Path, names: Names) -> object:
    """The elements of a data set, with long ones as their bytes."""
    import pydicom

    return cleaned(pydicom.dcmread(path, force=True).to_json_dict(), names)


def read_html(path: Path, names: Names) -> object:
    """What a reader of the page sees: lines of text, names of links, pictures by their pixels."""
    page = _Page(names)
    page.feed(path.read_text(encoding="utf-8"))
    return page.lines


class _Page(HTMLParser):
    """Collects the visible parts of a page."""

    def __init__(self, names: Names) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._names, self._unseen = names, 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._unseen += tag in UNSEEN
        for name, value in attrs:
            if value and name in ("alt", "title", "href"):
                self.lines.append(f"{tag} {name}: {self._names.clean(value)}")
            elif value and name == "src":
                self.lines.append(f"{tag} src: {_source(value, self._names)}")

    def handle_endtag(self, tag: str) -> None:
        self._unseen -= tag in UNSEEN

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text and not self._unseen:
            self.lines.append(self._names.clean(text))


def _source(value: str, names: Names) -> str:
    """Name the source of a picture; of one inside the page, the checksum of its pixels."""
    head, _, content = value.partition(";base64,")
    if not content or not head.startswith("data:image/") or "svg" in head:
        return names.clean(value)
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return f"{picture.mode} {picture.size} {hashlib.sha256(picture.tobytes()).hexdigest()[:16]}"


def cleaned(value: object, names: Names) -> object:
    """Clean all texts in a document, keys too; text that holds JSON is read."""
    if isinstance(value, str):
        return _parsed(names.clean(value), names)
    if isinstance(value, dict):
        return {names.clean(str(key)): cleaned(part, names) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(part, names) for part in value]
    if isinstance(value, bool | int | float | None):
        return value
    return names.clean(str(value))


def _parsed(line: str, names: Names) -> object:
    """The value of a line of JSON, else the line."""
    if line.startswith(("{", "[")):
        try:
            return cleaned(json.loads(line), names)
        except ValueError:
            return line
    return line


def _cell(text: str, names: Names) -> float | str:
    """A number where a cell holds one."""
    try:
        return float(text)
    except ValueError:
        return names.clean(text)


def _is_tensor(name: str) -> bool:
    return name.startswith(("data/", "constants/", "data/weights/", "data/constants/")) and name.rsplit("/")[-1] != ""


PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
READERS: dict[str, Reader] = {
    ".json": read_json,
    ".geojson": read_json,
    ".toml": read_toml,
    ".csv": read_csv,
    **dict.fromkeys(PICTURES, read_picture),
    ".tif": read_tiff,
    ".tiff": read_tiff,
    ".zarr": read_zarr,
    ".npy": read_npy,
    ".npz": read_npz,
    ".safetensors": read_safetensors,
    **dict.fromkeys((".ckpt", ".pt"), read_torch),
    ".onnx": read_onnx,
    ".parquet": read_parquet,
    ".dcm": read_dicom,
    ".html": read_html,
}
