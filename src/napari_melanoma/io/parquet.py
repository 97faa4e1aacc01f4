"""Tables as Parquet, where pyarrow is installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.core.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MISSING = (
    "Parquet needs pyarrow, which is not installed: pip install 'napari-melanoma[parquet]', or export CSV, which has "
    "the same columns."
)


def write_parquet(path: Path, columns: Mapping[str, NDArray[Any] | Sequence[Any]]) -> None:
    """Write a table."""
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError(MISSING) from error
    table = arrow.table({name: arrow.array(values, from_pandas=True) for name, values in columns.items()})
    with atomic_file(path) as temporary:
        parquet.write_table(table, temporary)
