"""Hugging Face Parquet: files with the images, masks and columns of each split, as the hub stores data sets."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from napari_melanoma.core.errors import ConfigError, DataSetError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.data.dataset import IMAGE_SUFFIXES
from napari_melanoma.data.exports import DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.data.formats.imagefolder import MASK_COLUMNS, find_split, find_split_folder, read_values
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import SourceRecord, describe_own_files
from napari_melanoma.io.formats import HEAD_BYTES, identify_format
from napari_melanoma.io.results import encode_png
from napari_melanoma.io.tables import PYARROW_MISSING

SOURCE = describe_own_files(
    name="parquet",
    title="Hugging Face Parquet",
    url="https://huggingface.co/docs/datasets/image_load#parquet",
    layout="""\
data/train-00000-of-00001.parquet, data/test-... with a column of images (image, of bytes and path), and one of masks
(mask, label, annotation or segmentation) if there are masks; all other columns are the table""",
)
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WebP": ".webp", "BMP": ".bmp"}
EXPORT = DataExportSpec(
    "parquet",
    "Hugging Face Parquet (data/SPLIT-*.parquet with images and masks)",
    needs_mask=False,
    has_table=True,
    has_parts=True,
)
OWN_COLUMNS = re.compile("image|mask")
FILE_IMAGES = 1000  # images of a file
GROUP_IMAGES = 16  # images that are in memory together, also when they are read


class ParquetImages:
    """The images of a Parquet file, of which one group of rows at a time is in memory; thread-safe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._loaded: tuple[tuple[int, str], list[Any]] | None = None
        with self._open() as file:
            self.schema, self.groups = file.schema_arrow, file.num_row_groups
        described = parse_json((self.schema.metadata or {}).get(b"huggingface", b"{}"), f"the schema of {path}")
        self.features: dict[str, Any] = (described.get("info") or {}).get("features") or {}

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            from pyarrow import ArrowException, parquet
        except ImportError as error:
            raise ConfigError(PYARROW_MISSING) from error
        try:
            with parquet.ParquetFile(self.path) as file:
                yield file
        except (ArrowException, OSError) as error:
            raise DataSetError(f"{self.path} cannot be read as Parquet ({error}). Download it again.") from error

    def read_rows(self, group: int, columns: list[str]) -> list[dict[str, Any]]:
        with self._open() as file:
            rows: list[dict[str, Any]] = file.read_row_group(group, columns).to_pylist()
        return rows

    def read(self, member: str) -> bytes:
        """Read an image by the number of its group, its number in the group, and its column."""
        group, number, column = member.split("/", 2)
        with self._lock:
            key = int(group), column
            if self._loaded is None or self._loaded[0] != key:
                self._loaded = key, self.read_rows(key[0], [column])
            content = (self._loaded[1][int(number)][column] or {}).get("bytes")
        if content is None:
            raise DataSetError("has no bytes in the Parquet file, only a path. Download the data set with its images.")
        return bytes(content)

    def close(self) -> None:
        """Release the images in memory."""
        with self._lock:
            self._loaded = None

    def list_images(self) -> list[str]:
        import pyarrow as arrow

        return [
            field.name
            for field in self.schema
            if arrow.types.is_struct(field.type) and {"bytes", "path"} <= {child.name for child in field.type}
        ]


def find(tree: SourceTree) -> list[SourceRecord]:
    """Find the images of all files."""
    records: list[SourceRecord] = []
    used: set[str] = set()
    without_image = 0
    for file in tree.files:
        if file.suffix != ".parquet":
            continue
        if file.archive is not None:
            tree.notes.append((file.name, "not read: unpack the archive"))
            continue
        archive = ParquetImages(Path(file.path))
        images = archive.list_images()
        masks = [name for name in MASK_COLUMNS if name in images]
        column = "image" if "image" in images else next((name for name in images if name not in masks), "")
        if not column:
            tree.notes.append((file.name, f"has no column of images: found {', '.join(archive.schema.names)}"))
            continue
        split = find_split(re.split(r"[^A-Za-z]+", file.stem))
        for member, row in _iterate_rows(archive, column, masks[0] if masks else "", images):
            path, mask_path = row.pop(column), row.pop(masks[0], None) if masks else None
            if path is None:
                without_image += 1
                continue
            name = row.pop("image_id", "") or PurePosixPath(path).stem or f"{file.stem}_{len(records)}"
            image_id = free_name(safe_name(name), used)
            used.add(image_id.lower())
            image = _make_file(archive, f"{member}/{column}", path)
            mask = None if mask_path is None else _make_file(archive, f"{member}/{masks[0]}", mask_path)
            values = {**({"split": split} if split else {}), **{key: text for key, text in row.items() if text}}
            records.append(SourceRecord(image_id, image, mask, values))
    if without_image:
        tree.notes.append(("image", f"{format_count(without_image, 'row')} without an image left out"))
    return records


def _iterate_rows(
    archive: ParquetImages, image: str, mask: str, images: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the position of each row, and its cells as texts; those of an image and a mask are paths, None without."""
    others = [name for name in archive.schema.names if name not in images]
    classes = {name: feature.get("names") for name, feature in archive.features.items() if isinstance(feature, dict)}
    columns = [*others, f"{image}.path", *([f"{mask}.path"] if mask else [])]
    for group in range(archive.groups):
        for number, row in enumerate(archive.read_rows(group, columns)):
            cells: dict[str, Any] = {name: _format_cell(row[name], classes.get(name)) for name in others}
            for name in filter(None, (image, mask)):
                cells[name] = None if row[name] is None else row[name]["path"] or ""
            yield f"{group}/{number}", cells


def _format_cell(value: object, names: list[str] | None) -> str:
    """Return a cell as text; the number of a class is replaced by its name."""
    if names and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)


def _make_file(archive: ParquetImages, member: str, path: str) -> SourceFile:
    """Return an image as a file; if its path has no suffix of an image, its content decides."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        suffix = SUFFIXES.get(identify_format(archive.read(member)[:HEAD_BYTES]) or "", ".png")
    return SourceFile(f"{member.replace('/', '_')}{suffix}", member, archive)


def write(data: ExportedData, folder: Path) -> None:
    """Write the files; the schema states which columns are images."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(PYARROW_MISSING) from error
    rows = dict(zip((image.image_id for image in data.images), data.make_rows(data.images, OWN_COLUMNS), strict=True))
    schema = _make_schema(list(rows.values()))
    names = _name_files(data.images)
    (folder / "data").mkdir()
    written = data.write_each(_read_files, sorted(data.images, key=lambda image: names[image.image_id]))
    for name, of_file in groupby(written, key=lambda pair: names[pair[0].image_id]):
        with parquet.ParquetWriter(folder / "data" / name, schema) as writer:
            while group := list(islice(of_file, GROUP_IMAGES)):
                records = [{**files, **rows[image.image_id]} for image, files in group]
                writer.write_table(arrow.Table.from_pylist(records, schema))


def _name_files(images: Sequence[ExportedImage]) -> dict[str, str]:
    """Return the name of the file of each image."""
    splits: dict[str, list[str]] = defaultdict(list)
    for image in images:
        splits[find_split_folder(image)].append(image.image_id)
    return {
        image_id: f"{split}-{number // FILE_IMAGES:05}-of-{-(-len(ids) // FILE_IMAGES):05}.parquet"
        for split, ids in splits.items()
        for number, image_id in enumerate(ids)
    }


def _make_schema(rows: list[dict[str, Any]]) -> Any:  # noqa: ANN401 - of pyarrow
    import pyarrow as arrow

    columns = {name: {type(row[name]) for row in rows} - {type(None)} for name in rows[0]}
    image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    types = {name: arrow.float64() if found == {float} else arrow.string() for name, found in columns.items()}
    features = {name: {"dtype": str(of).replace("double", "float64"), "_type": "Value"} for name, of in types.items()}
    info = {"info": {"features": {**{name: {"_type": "Image"} for name in ("image", "mask")}, **features}}}
    return arrow.schema([("image", image), ("mask", image), *types.items()], metadata={"huggingface": json.dumps(info)})


def _read_files(image: ExportedImage) -> dict[str, Any]:
    content, suffix, shape = image.encode()
    files: dict[str, Any] = {"image": {"bytes": content, "path": f"{image.image_id}{suffix}"}, "mask": None}
    if image.mask is not None:
        mask = encode_png(read_values(image, shape))
        files["mask"] = {"bytes": mask, "path": f"{image.image_id}.png"}
    return files
