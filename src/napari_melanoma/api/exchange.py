"""Data sets of other programs, and models on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.api.datasets import DataSet, to_import_options
from napari_melanoma.api.inputs import AnyPath, check_flag, check_name, to_bundle, to_path, to_run
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    from napari_melanoma.api.inputs import ProgressCallback

__all__ = ["DataSetExport", "DataSetImport", "export_dataset", "import_dataset", "pull", "push"]


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
    from napari_melanoma.data.collections import find_source
    from napari_melanoma.data.dataset_import import SourceImportOptions, import_source

    check_name(annotator, "annotator")
    options |= {"no_patients": no_patients, "annotator": annotator}
    chosen = SourceImportOptions.parse(to_import_options(options, table, table_map, values=values), "import_dataset")
    out = to_path(folder, "the data set")
    report = import_source(find_source(source), to_path(data, "data"), out, chosen, run=to_run(progress))
    return DataSetImport(DataSet(out), report.images, report.masks, [*report.faults, *report.leaks], report.notes)


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


def pull(model: str, name: str | None = None) -> BundleInfo:
    """Download a model of the Hugging Face hub into the user's model folder.

    The files are downloaded once for each commit; a model that is already in the folder is not copied again.

    Parameters
    ----------
    model : str
        ``hf:owner/name@commit``; without a commit, or with a branch or a tag, the commit that it is at now.
    name : str, optional
        Name of the model in the folder; by default its own. It gets a number if another model has that name.

    Returns
    -------
    BundleInfo
        The model, which ``list_models`` and the docks list, too.

    Raises
    ------
    BundleError
        If the name has another form, there is no such model, or it cannot be downloaded or used.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> model = nm.pull("hf:our-clinic/lesion-2@4f1c0a9d2e6b8f7350c1d94ab6e82f0375d9c1e8")  # doctest: +SKIP
    """
    from napari_melanoma.models.hub import HubName, download_named, find_hub_bundle, pin
    from napari_melanoma.models.installed_bundles import install_bundle

    check_name(model, "model")
    check_name("" if name is None else name, "name")
    pinned = str(pin(HubName.parse(model)))
    download_named(pinned)
    return install_bundle(find_hub_bundle(pinned), name)


def push(model: AnyPath | BundleInfo, repository: str, *, public: bool = False, replace: bool = False) -> str:
    """Upload a model with its card to the Hugging Face hub.

    An earlier model in the repository is replaced. Log in before with ``hf auth login``, or set ``HF_TOKEN``;
    ``nm.export(model, "hub")`` writes the same files to a folder.

    Parameters
    ----------
    model : str or os.PathLike or BundleInfo
        As for ``load_model``.
    repository : str
        ``hf:owner/name``; it is created if it does not exist.
    public : bool
        Whether a new repository is public.
    replace : bool
        Replace files of another program in the repository.

    Returns
    -------
    str
        The name with its commit, ``hf:owner/name@commit``, which is accepted wherever a model is.

    Raises
    ------
    BundleError
        If the model has no card, the repository has files of another program, or the upload is not permitted.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> nm.push("runs/second", "hf:our-clinic/lesion-2")  # doctest: +SKIP
    'hf:our-clinic/lesion-2@4f1c0a9d2e6b8f7350c1d94ab6e82f0375d9c1e8'
    """
    from napari_melanoma.models.hub import HubName, push_bundle

    check_name(repository, "repository")
    check_flag(public, "public")
    check_flag(replace, "replace")
    return str(push_bundle(to_bundle(model), HubName.parse(repository), private=not public, replace=bool(replace)))
