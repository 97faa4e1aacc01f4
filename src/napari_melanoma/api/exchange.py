"""Data sets of other programs: import and export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.api.datasets import DataSet
from napari_melanoma.api.inputs import AnyPath, check_flag, check_name, to_path, to_run

if TYPE_CHECKING:
    from napari_melanoma.api.inputs import ProgressCallback
    from napari_melanoma.data.dataset_import import SourceImportOptions

__all__ = ["DataSetExport", "DataSetImport", "export_dataset", "import_dataset"]


@dataclass(frozen=True)
class DataSetImport:
    """The outcome of an import.

    Parameters
    ----------
    dataset : DataSet
        The new data set.
    images, masks : int
        Number of imported images and masks.
    faults : list of (str, str)
        Images that could not be imported, and the reason; patients in several splits.
    notes : list of (str, str)
        Topics and messages, such as files that were not used.
    """

    dataset: DataSet
    images: int
    masks: int
    faults: list[tuple[str, str]]
    notes: list[tuple[str, str]] = field(repr=False)


@dataclass(frozen=True)
class DataSetExport:
    """The outcome of an export.

    Parameters
    ----------
    folder : pathlib.Path
        The new folder.
    images, masks : int
        Number of exported images and masks.
    classes : dict
        Class to its values in the masks of the data set.
    left_out : dict
        Reason to the number of images that were not exported, or whose mask was not.
    faults : list of (str, str)
        Images that could not be exported, and the reason.
    notes : list of (str, str)
        Topics and messages.
    """

    folder: Path
    images: int
    masks: int
    classes: dict[str, tuple[int, ...]]
    left_out: dict[str, int]
    faults: list[tuple[str, str]]
    notes: list[tuple[str, str]] = field(repr=False)


def import_dataset(
    source: str,
    data: AnyPath,
    folder: AnyPath,
    *,
    table: AnyPath | None = None,
    table_map: AnyPath | None = None,
    values: str | Sequence[str | int] | None = None,
    annotator: str = "",
    no_patients: bool = False,
    progress: ProgressCallback | None = None,
    **options: object,
) -> DataSetImport:
    """Import a data set of another program, a public set, or a folder of images.

    Parameters
    ----------
    source : str
        Name of the format or set, such as ``nnunet``, ``coco`` or ``isic2017``; ``napari-melanoma data sources`` lists
        them.
    data : str or os.PathLike
        The folder of its files, or one file.
    folder : str or os.PathLike
        The new data set.
    table, table_map : str or os.PathLike, optional
        CSV or XLSX file with ``image_id``, ``patient_id`` and others; TOML file with the meaning of columns and words.
    values : str or sequence of str or int, optional
        Values that mark the lesion in masks with several values, such as ``(1, 2)``; ``"all"`` for every value except
        0, or ``"keep"`` to keep the classes.
    annotator : str
        Of images with masks of several annotators, the name of one, or of a folder or file of masks; ``"union"`` or
        ``"majority"`` to combine them.
    no_patients : bool
        Confirms that the patients are unknown; otherwise a table must name them.
    progress : callable, optional
        Called with each ``Progress``.
    **options
        Others of ``napari-melanoma data import``, such as ``classes=("lesion",)`` or ``resize=True``.

    Returns
    -------
    DataSetImport
        With the ``dataset``, and what could not be imported in ``faults``.

    Raises
    ------
    InputError, DataSetError
        If the source is unknown, its files are not as expected, or no table names the patients.

    Examples
    --------
    >>> nm.import_dataset("nnunet", "Dataset501_Lesion", "dataset", table="patients.csv")  # doctest: +SKIP
    """
    from napari_melanoma.data.dataset_import import import_source
    from napari_melanoma.data.source_catalog import find_source

    options |= {"no_patients": no_patients, "annotator": annotator}
    chosen, out = _parse_import_options(options, table, table_map, values), to_path(folder, "the data set")
    report = import_source(find_source(source), to_path(data, "data"), out, chosen, run=to_run(progress))
    return DataSetImport(DataSet(out), report.images, report.masks, [*report.faults, *report.leaks], report.notes)


def _parse_import_options(
    options: dict[str, object],
    table: AnyPath | None,
    table_map: AnyPath | None,
    values: str | Sequence[str | int] | None,
) -> SourceImportOptions:
    from napari_melanoma.data.dataset_import import SourceImportOptions
    from napari_melanoma.data.mask_values import parse_values
    from napari_melanoma.data.table_mapping import TableMapping, read_mapping

    check_flag(options["no_patients"], "no_patients")
    check_name(options["annotator"], "annotator")
    parsed = parse_values(values) if values is None or isinstance(values, str) else tuple(map(str, values)) or None
    declared = {
        "metadata": None if table is None else to_path(table, "the table"),
        "mapping": TableMapping() if table_map is None else read_mapping(to_path(table_map, "table_map")),
        "values": parsed,
        "no_patients": bool(options["no_patients"]),
    }
    return SourceImportOptions.parse({**options, **declared}, "import_dataset")


def export_dataset(
    dataset: AnyPath,
    format: str,
    folder: AnyPath,
    *,
    progress: ProgressCallback | None = None,
    **options: object,
) -> DataSetExport:
    """Export a data set for another program.

    Parameters
    ----------
    dataset : str or os.PathLike
        The data set, also as ``DataSet``.
    format : str
        Name of the format, such as ``nnunet``, ``coco`` or ``label-studio``; ``napari-melanoma data export --help``
        lists them.
    folder : str or os.PathLike
        The new folder, which appears when it is complete.
    progress : callable, optional
        Called with each ``Progress``.
    **options
        Those of ``napari-melanoma data export``, such as ``classes=("tumor=1", "whole=1,2")`` or ``areas="pixels"``.

    Returns
    -------
    DataSetExport
        With the ``folder``, and what was not exported in ``left_out`` and ``faults``.

    Raises
    ------
    InputError, DataSetError, ConfigError
        If the format is unknown, an option is invalid, or the data set has no image to export.

    Examples
    --------
    >>> nm.export_dataset("dataset", "coco", "coco", areas="pixels")  # doctest: +SKIP
    """
    from napari_melanoma.data import exports
    from napari_melanoma.data.exports import DataExportOptions, find_data_export

    chosen = DataExportOptions.parse(options, "export_dataset")
    source, out = to_path(dataset, "the data set"), to_path(folder, "the folder")
    report = exports.export_dataset(source, find_data_export(format), out, chosen, run=to_run(progress))
    return DataSetExport(out, **vars(report))
