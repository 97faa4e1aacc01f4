"""The table of a data set together with what was measured of its lesions, so that both can be chosen as inputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.features.reading import Row
from napari_melanoma.data.table_file import KEY, TableFile


def with_features(rows: Sequence[Row], path: Path) -> list[dict[str, object]]:
    """Put the columns of a table of features behind those of a data set.

    A row for each, in their order; where both have a column, the data set's word counts. A row that was not measured
    has its own columns alone.
    """
    if not path.is_file():
        raise DataSetError(f"there is no table {path} of what was measured. Run: napari-melanoma data features DATASET")
    measured = {row[KEY]: row for row in TableFile.read(path).rows()}
    return [{**measured.get(str(row.get(KEY)), {}), **row} for row in rows]
