"""All commands of the command line with their parameters, and what they write, in a form that can be compared."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from PIL import Image
from typer._click.core import Context
from typer.main import get_command

from napari_melanoma.cli import app

# Times, durations, and the identity of a process or file, which differ between any two runs.
VARYING = re.compile(
    r"(^|_)(created|created_on|reviewed_at|date|time|times|seconds|elapsed|started|finished|written|duration|host|pid|uid|command|"
    r"path|folder|out|provenance|version|speed|per_second|memory|message|rss|inode|mtime|modified|stamp|environment)(_|$)"
)
# What happened when, and the digests of the input, are not what was found.
OF_A_PROCESS = ("events.jsonl", "process.json", "control.json", "log.txt", "settled.json", "tables.json")
DIGITS = 9  # significant ones of numbers that are compared: sums in another order differ in the last ones


class RepeatedParameter(NamedTuple):
    """A parameter that accepts several values, such as ``lesion images``."""

    command: str
    parameter: str


def walk_commands() -> Iterator[tuple[str, list[Any]]]:
    """Yield each command as on the command line, with its parameters."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, list[Any]]]:
        context = Context(command)
        if not hasattr(command, "list_commands"):
            yield " ".join(words), command.get_params(context)
            return
        for name in command.list_commands(context):
            yield from walk(command.get_command(context, name), (*words, name))

    yield from walk(get_command(app), ())


def list_repeated_parameters() -> list[RepeatedParameter]:
    """All parameters that accept several values."""
    return [
        RepeatedParameter(command, parameter.name)
        for command, parameters in walk_commands()
        for parameter in parameters
        if parameter.nargs == -1 or getattr(parameter, "multiple", False)
    ]


def list_data_set_commands() -> list[str]:
    """All commands that read a data set."""
    return [
        command
        for command, parameters in walk_commands()
        if any((getattr(one, "metavar", None) or "").removesuffix("...") == "DATASET" for one in parameters)
    ]


def read_outputs(folder: Path, rename: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the content of each file of a folder by its relative path: rows, values and pixels, but no times.

    Rows of tables and records of JSON files are compared as sets: their order may be that of the input. ``rename``:
    texts of names and contents to replace, such as the names of files that were renamed.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)  # locks, and the key of pseudonyms
        if (
            path.is_file()
            and not hidden
            and path.name not in OF_A_PROCESS
            and not any(part.endswith(".zarr") for part in parts)
        ):
            found[_rename("/".join(parts), rename or {})] = _read(path, rename or {})
    return found


def normalize(value: Any, rename: Mapping[str, str] | None = None) -> Any:
    """Return a JSON value without times and paths, numbers rounded, records in an order of their own."""
    if isinstance(value, Mapping):
        kept = {key: one for key, one in value.items() if not VARYING.search(str(key))}
        return {_rename(str(key), rename or {}): normalize(one, rename) for key, one in kept.items()}
    if isinstance(value, list | tuple):
        items = [normalize(one, rename) for one in value]
        plain = all(isinstance(one, int | float) or one is None for one in items)
        return items if plain else sorted(items, key=lambda one: json.dumps(one, sort_keys=True))
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    return _rename(value, rename or {}) if isinstance(value, str) else value


def _rename(text: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def _read(path: Path, rename: Mapping[str, str]) -> Any:
    match path.suffix.lower():
        case ".json" | ".geojson":
            return normalize(_name_images(json.loads(path.read_text(encoding="utf-8"))), rename)
        case ".parquet":
            from pyarrow import parquet

            return normalize(
                [{key: repr(value) for key, value in row.items()} for row in parquet.read_table(path).to_pylist()],
                rename,
            )
        case ".jsonl":
            return normalize([json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()], rename)
        case ".csv" | ".tsv":
            separator = "\t" if path.suffix == ".tsv" else ","
            with path.open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file, delimiter=separator))
            return normalize([{key: _number(value) for key, value in row.items()} for row in rows], rename)
        case ".tif" | ".tiff":
            values = tifffile.imread(path)  # the description has a random identifier
            return (values.shape, values.dtype.str, _digest(values.tobytes()))
        case ".png" | ".jpg":
            pixels = np.asarray(Image.open(path))
            return (pixels.shape, _digest(pixels.tobytes()))
        case ".html" | ".pdf" | ".svg" | ".log" | ".txt" | ".md" | ".toml":
            return path.suffix  # their values are those of the tables beside them
        case _:
            return _digest(path.read_bytes())


def _name_images(content: Any) -> Any:
    """Replace the numbers of images in a COCO file, which are counted, by the names of their files."""
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        return content
    names = {one["id"]: one["file_name"] for one in content["images"]}
    images = [{**one, "id": one["file_name"]} for one in content["images"]]
    annotations = [{**one, "image_id": names[one["image_id"]], "id": ""} for one in content["annotations"]]
    return {**content, "images": images, "annotations": annotations}


def _digest(content: bytes) -> str:
    """Return a short text in place of bytes, whose differences would take minutes to describe."""
    return hashlib.sha256(content).hexdigest()


def _number(text: str | None) -> Any:
    try:
        return float(text or "")
    except ValueError:
        return text
