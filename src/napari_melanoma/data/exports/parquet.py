"""Hugging Face Parquet: the images, masks and columns of each split in files that the library and the hub read."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.data.export_catalog import DataExportSpec, ExportedData, ExportedImage
from napari_melanoma.data.exports.imagefolder import find_split, read_values
from napari_melanoma.io.results import encode_png
from napari_melanoma.io.tables import PYARROW_MISSING

SPEC = DataExportSpec(
    "parquet", "Hugging Face Parquet (data/SPLIT-*.parquet with images and masks)", needs_mask=False, has_table=True
)
OWN_COLUMNS = re.compile("image|mask")
FILE_IMAGES = 1000  # images of a file
GROUP_IMAGES = 16  # images that are in memory together, also when they are read


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
        splits[find_split(image)].append(image.image_id)
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
