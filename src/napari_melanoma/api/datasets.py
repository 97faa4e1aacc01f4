"""Data sets: the folder of one as an object, import of masks, and duplicate images."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from napari_melanoma.api.inputs import (
    AnyPath,
    ProgressCallback,
    check_flag,
    check_renamed,
    to_mask_array,
    to_path,
    to_paths,
    to_run,
)
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_repr
from napari_melanoma.core.paths import real_path
from napari_melanoma.data.check import DataCheck

if TYPE_CHECKING:
    import pandas as pd


__all__ = ["DataSet", "DataSetCheck", "MaskImport", "find_duplicates", "import_masks", "read_dataset"]


class DataSet(PathLike[str]):
    """The folder of a data set; it is accepted wherever the path of a folder is.

    Parameters
    ----------
    folder : str or os.PathLike
        As for ``read_dataset``.

    Raises
    ------
    DataSetError
        If the folder has no table.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> dataset = nm.DataSet("dataset")  # doctest: +SKIP
    >>> dataset.check().faults  # doctest: +SKIP
    >>> dataset.split(test=0.2, folds=5)  # doctest: +SKIP
    >>> nm.evaluate("lesion-small", dataset, "results/dataset", split="test")  # doctest: +SKIP
    """

    def __init__(self, folder: AnyPath) -> None:
        from napari_melanoma.data.dataset import find_table

        self.folder = to_path(folder, "a data set")
        find_table(self.folder)

    def __fspath__(self) -> str:
        """Return the path of the folder."""
        return str(self.folder)

    def __repr__(self) -> str:
        """Return a short text."""
        return format_repr(self, folder=str(self.folder))

    def __eq__(self, other: object) -> bool:
        """Whether both are the same folder."""
        return isinstance(other, DataSet) and real_path(self.folder) == real_path(other.folder)

    def __hash__(self) -> int:
        """Return the hash of the folder."""
        return hash(real_path(self.folder))

    def to_pandas(self) -> pd.DataFrame:
        """Return the table.

        Returns
        -------
        pandas.DataFrame
            As from ``read_dataset``.
        """
        return read_dataset(self.folder)

    def check(self, *, progress: ProgressCallback | None = None) -> DataSetCheck:
        """Read all images and masks, and search for faults; nothing is written.

        Parameters
        ----------
        progress : callable, optional
            Called with each ``Progress``.

        Returns
        -------
        DataSetCheck
            Faults to be corrected, notes to review, and counts.
        """
        from napari_melanoma.data.check import check_data

        return DataSetCheck(check_data(self.folder, run=to_run(progress)))

    def split(
        self,
        *,
        test: float | None = None,
        val: float | None = None,
        folds: int | None = None,
        seed: int = 0,
        replace: bool = False,
        duplicates: bool = True,
        progress: ProgressCallback | None = None,
    ) -> pd.DataFrame:
        """Write the column ``split`` of the table, and with ``folds`` the column ``fold``.

        Images of a patient, of a lesion, and duplicate images are never separated. Splits and folds are stratified
        by diagnosis.

        Parameters
        ----------
        test : float, optional
            Share of the patients for the test set, in [0, 1); by default 0.2, or none with folds.
        val : float, optional
            Share of the patients for ``val``; by default 0.1, or none with folds.
        folds : int, optional
            Number of folds of the images outside of the test set, for cross-validation.
        seed : int
            Random seed.
        replace : bool
            Replace existing splits and folds, which are kept otherwise.
        duplicates : bool
            Search for duplicate images.
        progress : callable, optional
            Called with each ``Progress``.

        Returns
        -------
        pandas.DataFrame
            A row per split, and per fold: ``split``, ``fold``, ``images``, and the number of images of each diagnosis.

        Raises
        ------
        ConfigError, DataSetError
            If a share is invalid, there are too few patients, or all images have another split than a requested one.
        """
        import pandas as pd

        from napari_melanoma.data.splits import SplitOptions, split_dataset

        values = {"test": test, "val": val, "folds": folds, "seed": seed, "replace": replace, "look": duplicates}
        options = SplitOptions.parse({name: value for name, value in values.items() if value is not None}, "split")
        report = split_dataset(self.folder, options, run=to_run(progress))
        for question in report.questions:
            warnings.warn(question, stacklevel=2)
        rows = [
            {"split": name, "fold": None, "images": sum(counts.values()), **counts}
            for name, counts in sorted(report.counts.items())
        ]
        rows += [
            {"split": None, "fold": int(name), "images": sum(counts.values()), **counts}
            for name, counts in sorted(report.folds.items(), key=lambda item: int(item[0]))
        ]
        table = pd.DataFrame(rows).astype({"fold": "Int64"})
        return table.fillna(dict.fromkeys(table.columns[3:], 0)).astype(dict.fromkeys(table.columns[3:], int))


@dataclass(frozen=True)
class DataSetCheck:
    """The result of the check of a data set.

    Parameters
    ----------
    counts : DataCheck
        Numbers of ``rows``, ``images``, ``masks``, of images ``usable`` for training and of ``groups`` (patients,
        lesions or single images); ``reviews``, ``splits`` and ``diagnoses`` by name.
    """

    counts: DataCheck = field(repr=False)

    def __repr__(self) -> str:
        """Return a short text with the numbers of faults and notes."""
        found = {"faults": len(self.faults), "notes": len(self.notes)}
        return format_repr(self, images=self.counts.images, masks=self.counts.masks, **found)

    @property
    def faults(self) -> list[tuple[str, str]]:
        """What must be corrected: the image, group or column concerned, and a message."""
        return self.counts.faults

    @property
    def notes(self) -> list[tuple[str, str]]:
        """What should be reviewed, in the same form."""
        return self.counts.notes

    def to_pandas(self) -> pd.DataFrame:
        """Return faults and notes as a table.

        Returns
        -------
        pandas.DataFrame
            A row per finding: ``kind`` (``fault`` or ``note``), ``concerns`` and ``message``.
        """
        import pandas as pd

        rows = [(kind, *found) for kind in ("fault", "note") for found in getattr(self, f"{kind}s")]
        return pd.DataFrame(rows, columns=["kind", "concerns", "message"])


def read_dataset(folder: AnyPath) -> pd.DataFrame:
    """Read the table of a data set.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder with ``dataset.csv`` (or ``metadata.csv``), ``images/`` and ``masks/``, as written by ``napari-melanoma
        data import``, or by hand: a row per image with its ``image_id``. Its files are ``images/<image_id>`` with the
        suffix .jpg, .jpeg, .png, .tif, .tiff, .bmp or .webp, and ``masks/<image_id>.png``, unless the columns ``path``
        and ``mask_path`` name others within the folder. ``patient_id``, ``split``, ``diagnosis`` and all other columns
        are optional; the page "Table of a data set" of the reference lists those that have a meaning.

    Returns
    -------
    pandas.DataFrame
        A row per image: the columns of the table, and the files in ``image`` and ``mask`` (``pathlib.Path`` or None).
        Columns of numbers, such as ``age``, ``diameter_1_mm``, and ``melanoma`` (1 and 0), are ``Float64`` or
        ``Int64``, with ``pandas.NA`` for unknown values. Other columns, such as ``patient_id``, and columns of numbers
        that contain other text are text.

    Raises
    ------
    DataSetError
        If the folder is not a data set, or a row is invalid.
    """
    import pandas as pd

    from napari_melanoma.data.dataset import iter_entries, raise_faults

    entries = raise_faults(iter_entries(to_path(folder, "a data set")))
    table = pd.DataFrame([{**entry.row, "image": entry.image, "mask": entry.mask} for entry in entries])
    return table.assign(**{name: _to_numbers(table[name]) for name in table if _holds_numbers(str(name))})


def _holds_numbers(name: str) -> bool:
    """Whether a column of the harmonized table contains numbers, or 1 and 0."""
    from napari_melanoma.data.table_schema import find_column

    column = find_column(name)
    return column is not None and column.kind in ("number", "yes_no")


def _to_numbers(cells: pd.Series) -> pd.Series:
    """Convert a column to nullable numbers if all known values are numbers; otherwise return it unchanged."""
    import pandas as pd

    from napari_melanoma.data.taxonomy import UNKNOWN

    known = cells.where(cells.notna() & ~cells.isin(["", UNKNOWN]))
    numbers = pd.to_numeric(known, errors="coerce")
    return cells if (numbers.isna() & known.notna()).any() else numbers.convert_dtypes()


@dataclass(frozen=True)
class MaskImport:
    """The outcome of an import of masks.

    Parameters
    ----------
    dataset : DataSet, optional
        The data set with the imported masks; None if no mask could be imported.
    added : list of str
        Ids of the images whose masks were imported.
    faults : list of (str, str)
        Images or masks that could not be imported, and the reason.
    kept : list of str
        Photographs whose mask in the data set was reviewed before; ``replace=True`` replaces it.
    without_mask : list of str
        Photographs without a mask.
    notes : list of (str, str)
        Topics and messages about files that were not used, the table and the masks.
    """

    dataset: DataSet | None
    added: list[str] = field(repr=False)
    faults: list[tuple[str, str]]
    kept: list[str] = field(repr=False)
    without_mask: list[str] = field(repr=False)
    notes: list[tuple[str, str]] = field(repr=False)


def import_masks(
    masks: AnyPath | Mapping[str, ArrayLike],
    images: AnyPath,
    folder: AnyPath,
    *,
    table: AnyPath | None = None,
    table_map: AnyPath | None = None,
    no_patients: bool = False,
    progress: ProgressCallback | None = None,
    **options: object,
) -> MaskImport:
    """Import masks that were made elsewhere into a data set, which is created if missing.

    Parameters
    ----------
    masks : str or os.PathLike or mapping
        A folder of PNG or TIFF masks, or a file of COCO, labelme or GeoJSON; or arrays (row, column), such as Labels
        layers of another plugin, by the names of their photographs.
    images : str or os.PathLike
        Folder of the photographs, which are matched by name.
    folder : str or os.PathLike
        The data set.
    table, table_map : str or os.PathLike, optional
        Table with ``image_id``, ``patient_id``, and further patient data; TOML file with the meaning of its columns and
        words.
    no_patients : bool
        Confirms that the patients are unknown; otherwise a table must name them.
    progress : callable, optional
        Called with each ``Progress``.
    **options
        Those of ``napari-melanoma data import-masks``, such as ``classes=("lesion",)`` or ``replace=True``.

    Returns
    -------
    MaskImport
        With the ``dataset``, and what could not be imported in ``faults``.

    Raises
    ------
    InputError, DataSetError, ConfigError
        If files or options cannot be used, or no table names the patients.

    Examples
    --------
    >>> imported = nm.import_masks("masks", "photographs", "dataset", table="patients.csv")  # doctest: +SKIP
    >>> nm.import_masks({"mole.jpg": layer.data}, "photographs", "dataset", no_patients=True)  # doctest: +SKIP
    """
    from napari_melanoma.data import mask_import

    values = to_import_options({**options, "no_patients": no_patients}, table, table_map)
    chosen = mask_import.MaskImportOptions.parse(values, "import_masks")
    out, photographs = to_path(folder, "the data set"), to_path(images, "the folder of the photographs")
    with TemporaryDirectory() as temporary:
        source = (
            _write_masks(masks, Path(temporary, "masks")) if isinstance(masks, Mapping) else to_path(masks, "the masks")
        )
        report = mask_import.import_masks(source, photographs, out, chosen, run=to_run(progress))
    dataset = DataSet(out) if out.is_dir() else None
    faults = [*report.faults, *report.leaks]
    return MaskImport(dataset, report.added, faults, report.kept, report.without_mask, report.notes)


def to_import_options(
    options: Mapping[str, object], table: AnyPath | None, table_map: AnyPath | None, **more: object
) -> dict[str, object]:
    """Combine the options of an import with its arguments, of which those that are None are left out."""
    check_renamed(options, metadata="table", mapping="table_map", map="table_map")
    check_flag(options["no_patients"], "no_patients")
    declared = {
        "metadata": None if table is None else to_path(table, "the table"),
        "mapping": None if table_map is None else to_path(table_map, "table_map"),
        **more,
    }
    given = {name: value for name, value in declared.items() if value is not None}
    return {**options, **given, "no_patients": bool(options["no_patients"])}


def _write_masks(masks: Mapping[str, ArrayLike], folder: Path) -> Path:
    """Write arrays as files of masks, by the names of their photographs; return the folder."""
    from napari_melanoma.core.files import normalize_name
    from napari_melanoma.data.cell_values import strip_image_suffix
    from napari_melanoma.io.results import write_mask

    names: dict[str, str] = {}
    for name, mask in masks.items():
        array = to_mask_array(mask)
        if array.ndim != 2 or Path(name).name != str(name):
            raise InputError(
                "masks must be arrays (row, column) by the names of photographs, such as mole.jpg; found "
                f"'{name}' with the shape {array.shape}."
            )
        stem = strip_image_suffix(str(name))
        if (first := names.setdefault(normalize_name(stem), name)) != name:
            raise InputError(
                f"'{first}' and '{name}' have the same name without suffix: expected one mask a photograph. Unite "
                "them, or rename one of the photographs."
            )
        write_mask(folder / f"{stem}.png", array.astype(bool))
    return folder


def find_duplicates(
    data: AnyPath | Sequence[AnyPath], *, across: bool = False, progress: ProgressCallback | None = None
) -> pd.DataFrame:
    """Find images that show the same picture, even if size, compression or tint differ.

    Parameters
    ----------
    data : path-like or sequence of path-like
        One data set or several.
    across : bool
        Only pairs of different data sets.
    progress : callable, optional
        Called with each ``Progress``.

    Returns
    -------
    pandas.DataFrame
        A row per pair: ``data_set_1``, ``image_1``, ``split_1``, ``data_set_2``, ``image_2``, ``split_2``,
        ``similarity`` in [0, 1], and ``same_group`` (whether both are of one patient or lesion).

    Raises
    ------
    DataSetError, InputError
        If a folder is not a data set, or ``across`` has one data set only.
    """
    import pandas as pd

    from napari_melanoma.data.duplicates import find_dataset_duplicates
    from napari_melanoma.data.merging import PAIR_COLUMNS, tabulate_duplicate

    check_flag(across, "across")
    _, pairs = find_dataset_duplicates(to_folders(data), to_run(progress), across=bool(across))
    return pd.DataFrame([tabulate_duplicate(pair) for pair in pairs], columns=list(PAIR_COLUMNS))


def to_folders(data: AnyPath | Sequence[AnyPath]) -> list[Path]:
    """Convert the argument ``data`` to the folders of different data sets."""
    from napari_melanoma.data.dataset import check_distinct_datasets

    folders = to_paths(data, "a data set")
    if not folders:
        raise InputError("pass one data set or more; found none.")
    check_distinct_datasets(folders)
    return folders
