"""Models, data sets and cases; training, evaluation and comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.api.inputs import AnyPath, to_bundle, to_run
from napari_melanoma.core.errors import InputError
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    import pandas as pd

    from napari_melanoma.api.inputs import ProgressCallback
    from napari_melanoma.case.model import Case
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.data.dataset import DatasetEntry
    from napari_melanoma.evaluation.compare_classes import ClassifierComparison
    from napari_melanoma.evaluation.compare_several import ModelsComparison
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.training.recipe import TrainRecipe

__all__ = [
    "DataSet",
    "EvaluationSummary",
    "ModelComparison",
    "PatientCase",
    "compare",
    "evaluate",
    "load_model",
    "read_case",
    "read_dataset",
    "train",
]


def load_model(name: AnyPath) -> BundleInfo:
    """Find a model; its weights are read when it is first used.

    Parameters
    ----------
    name : str or path-like
        Name of an installed model (``napari-melanoma models list``), or the folder of a bundle.

    Returns
    -------
    BundleInfo
        With ``name``, ``path``, ``config`` (task, classes, input size ...) and ``card``, the model card in Markdown;
        accepted by all functions that take a model.

    Raises
    ------
    BundleError
        Where there is no such model, or it cannot be used.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> nm.load_model("lesion-small").config.task
    'segmentation'
    """
    return to_bundle(name)


@dataclass(frozen=True)
class DataSet:
    """The rows of a data set.

    Parameters
    ----------
    folder : pathlib.Path
        Where it is.
    rows : tuple of DatasetEntry
        Each with ``image_id``, ``row`` (the cells of the table by column), and ``image`` and ``mask``, the files.
    """

    folder: Path
    rows: tuple[DatasetEntry, ...]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __iter__(self) -> Iterator[DatasetEntry]:
        """Iterate over the rows."""
        return iter(self.rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return the table.

        Returns
        -------
        pandas.DataFrame
            A row per image; the files are in the columns ``image`` and ``mask``.
        """
        import pandas as pd

        return pd.DataFrame([{**entry.row, "image": entry.image, "mask": entry.mask} for entry in self.rows])


def read_dataset(folder: AnyPath) -> DataSet:
    """Read a data set.

    Parameters
    ----------
    folder : path-like
        With ``dataset.csv``, ``images/`` and ``masks/``, as ``napari-melanoma data import`` writes them.

    Returns
    -------
    DataSet
        Its rows in their order.

    Raises
    ------
    DataSetError
        Where the folder is no data set, or a row is faulty.
    """
    from napari_melanoma.core.errors import DataSetError
    from napari_melanoma.data.dataset import iter_entries

    path = Path(folder).expanduser()
    entries = []
    for entry in iter_entries(path):
        if isinstance(entry, DataSetError):
            raise entry
        entries.append(entry)
    return DataSet(path, tuple(entries))


@dataclass(frozen=True)
class PatientCase:
    """One patient: lesions, their images and stored results.

    Parameters
    ----------
    folder : pathlib.Path
        Where ``case.json`` is.
    case : Case
        The patient, the lesions and the images as they are stored.
    missing : dict of str to str
        Image id to the reason why its file was not found.
    """

    folder: Path
    case: Case
    missing: Mapping[str, str]

    def to_pandas(self) -> pd.DataFrame:
        """Return the images as a table.

        Returns
        -------
        pandas.DataFrame
            A row per image: lesion, modality, date, file, and whether its mask was corrected.
        """
        import pandas as pd

        rows = [
            {
                "image": image.id,
                "lesion": None if lesion is None else lesion.id,
                "modality": image.modality or None,
                "taken_on": image.taken_on or None,
                "path": image.path,
                "corrected": image.correction is not None,
                "results": len(image.results),
            }
            for lesion, image in self.case.iterate_images()
        ]
        return pd.DataFrame(rows, columns=["image", "lesion", "modality", "taken_on", "path", "corrected", "results"])


def read_case(folder: AnyPath) -> PatientCase:
    """Read a case; nothing is written, and it may be open elsewhere.

    Parameters
    ----------
    folder : path-like
        With ``case.json``.

    Returns
    -------
    PatientCase
        As it is stored.

    Raises
    ------
    InputError
        Where the folder holds no case, or a damaged one.
    """
    from napari_melanoma.case.store import CaseStore

    store = CaseStore.open_read_only(Path(folder))
    return PatientCase(store.folder, store.case, dict(store.missing))


def train(
    recipe: AnyPath | TrainRecipe | Mapping[str, Any],
    folder: AnyPath,
    *,
    resume: bool = False,
    progress: ProgressCallback | None = None,
) -> BundleInfo:
    """Train a model in this process.

    Parameters
    ----------
    recipe : path-like, mapping or TrainRecipe
        A TOML file, or its content.
    folder : path-like
        The run folder; receives checkpoints, metrics and ``bundle/``.
    resume : bool
        Continue the run that the folder holds.
    progress : callable, optional
        Called with each ``Progress``; an exception that it raises ends the run, which can be resumed.

    Returns
    -------
    BundleInfo
        The model of the best epoch.

    Raises
    ------
    ConfigError, DataSetError
        Where the recipe or the data cannot be used.
    InputError
        Where the recipe uses several processes.
    RunError
        Where the folder holds another run, or none to resume.
    TrainingError
        Where training fails.
    """
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.runs.train import train as train_recipe
    from napari_melanoma.training.recipe import TrainRecipe

    if isinstance(recipe, Mapping):
        recipe = TrainRecipe.parse(dict(recipe), "the recipe")
    elif not isinstance(recipe, TrainRecipe):
        recipe = read_toml(Path(recipe).expanduser(), TrainRecipe)
    bundle = train_recipe(recipe, Path(folder).expanduser(), resume=resume, run=to_run(progress))
    if bundle is None:
        raise InputError("the recipe uses several processes: start it with napari-melanoma train.")
    return bundle


@dataclass(frozen=True)
class EvaluationSummary:
    """What an evaluation measured.

    Parameters
    ----------
    folder : pathlib.Path
        Holds ``metrics.json``, ``per_image.csv``, ``summary.html`` and ``figures/``.
    metrics : dict of str to dict of str to Estimate
        Part of the data (``all``, and each data set) to metric to ``mean``, ``low`` and ``high`` (95 % interval) and
        ``count``.
    failed : dict of str to str
        Image to the reason why it could not be measured.
    warnings : tuple of str
        What to know before reading the metrics.
    """

    folder: Path
    metrics: dict[str, dict[str, Estimate]]
    failed: dict[str, str]
    warnings: tuple[str, ...]

    def to_pandas(self) -> pd.DataFrame:
        """Return the metrics as a table.

        Returns
        -------
        pandas.DataFrame
            A row per part of the data and metric.
        """
        import pandas as pd

        rows = [
            {"data": part, "metric": name, **vars(estimate)}
            for part, estimates in self.metrics.items()
            for name, estimate in estimates.items()
        ]
        return pd.DataFrame(rows)

    def per_image(self) -> pd.DataFrame:
        """Return the table of all images.

        Returns
        -------
        pandas.DataFrame
            A row per image.
        """
        import pandas as pd

        return pd.read_csv(self.folder / "per_image.csv")


def evaluate(
    model: AnyPath | BundleInfo,
    data: AnyPath | Sequence[AnyPath],
    folder: AnyPath,
    *,
    split: str | None = None,
    include_seen: bool = False,
    progress: ProgressCallback | None = None,
    **options: object,
) -> EvaluationSummary:
    """Evaluate a model on data sets.

    Parameters
    ----------
    model : str, path-like or BundleInfo
        As ``load_model`` takes or returns it.
    data : path-like or sequence of path-like
        Data sets with reference masks or diagnoses.
    folder : path-like
        Receives the results; an interrupted evaluation is continued.
    split : str, optional
        Only images of this split, such as ``test``.
    include_seen : bool
        Include images that the model was trained on.
    progress : callable, optional
        Called with each ``Progress``.
    **options
        Further options of ``napari-melanoma evaluate``, such as ``threshold=0.4`` or ``flips=True`` for masks and
        ``target="melanoma"`` or ``masks="predicted"`` for classes.

    Returns
    -------
    EvaluationSummary
        Segmentation: accuracy, sensitivity, specificity, Dice, Jaccard, thresholded Jaccard, boundary F1 and Hausdorff
        distance. Classification: AUC, average precision, sensitivity, specificity, F1, calibration error and others.

    Raises
    ------
    DataSetError
        Where a data set is faulty, or no image could be measured.
    BundleError, ConfigError
        Where there is no such model or option.
    """
    info = to_bundle(model)
    datasets, out = _paths(data), Path(folder).expanduser()
    given = {"split": split, "include_seen": include_seen, **options}
    found = _EVALUATIONS[_task(info)](info, datasets, out, given, to_run(progress))
    failed = {item.sample.image_id: item.error for item in found.failed}
    return EvaluationSummary(out, found.parts, failed, tuple(found.warnings))


def _paths(data: AnyPath | Sequence[AnyPath]) -> list[Path]:
    """The folders of data sets."""
    several = [data] if isinstance(data, str) or not isinstance(data, Sequence) else data
    return [Path(one).expanduser() for one in several]


def _task(info: BundleInfo) -> str:
    """Which of the evaluations is for a model."""
    if info.config.task == "classification":
        return "slides" if info.config.encoder is not None else "classes"
    return "masks" if info.config.segments_one_class else "labels"


def _evaluate_masks(info: BundleInfo, data: list[Path], out: Path, given: dict[str, Any], run: RunContext) -> Any:  # noqa: ANN401
    """Evaluate a model that segments lesions."""
    from napari_melanoma.evaluation.evaluate import evaluate as evaluate_masks
    from napari_melanoma.evaluation.results import EvaluationOptions
    from napari_melanoma.lesion.loaded_models import load_segmenter

    options = EvaluationOptions.parse(given, "the options of evaluate")
    return evaluate_masks(load_segmenter(str(info.path)), data, out, options, run=run)


def _evaluate_labels(info: BundleInfo, data: list[Path], out: Path, given: dict[str, Any], run: RunContext) -> Any:  # noqa: ANN401
    """Evaluate a model that segments several classes."""
    from napari_melanoma.evaluation.evaluate_labels import evaluate_labels
    from napari_melanoma.slides.tile_models import TissueSegmenter

    _reject_options(given, ("split", "include_seen"))
    return evaluate_labels(TissueSegmenter.load(info), data, out, run=run, **given)


def _evaluate_classes(info: BundleInfo, data: list[Path], out: Path, given: dict[str, Any], run: RunContext) -> Any:  # noqa: ANN401
    """Evaluate a classifier of photographs."""
    from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions
    from napari_melanoma.evaluation.evaluate_classes import evaluate_classifier
    from napari_melanoma.lesion.loaded_models import load_classifier_folder

    options = ClassEvaluationOptions.parse(given, "the options of evaluate")
    return evaluate_classifier(load_classifier_folder(info.path), data, out, options, run=run)


def _evaluate_slides(info: BundleInfo, data: list[Path], out: Path, given: dict[str, Any], run: RunContext) -> Any:  # noqa: ANN401
    """Evaluate a classifier of slides."""
    from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions
    from napari_melanoma.evaluation.evaluate import evaluate_bags

    return evaluate_bags(info, data, out, ClassEvaluationOptions.parse(given, "the options of evaluate"), run=run)


def _reject_options(given: Mapping[str, object], known: Sequence[str]) -> None:
    """Raise where an option is given that a task does not have."""
    unknown = [name for name in given if name not in known]
    if unknown:
        raise InputError(f"a model of several classes is evaluated without '{unknown[0]}' (known: {', '.join(known)}).")


_EVALUATIONS = {
    "masks": _evaluate_masks,
    "labels": _evaluate_labels,
    "classes": _evaluate_classes,
    "slides": _evaluate_slides,
}


@dataclass(frozen=True)
class ModelComparison:
    """Models side by side on the same images.

    Parameters
    ----------
    folder : pathlib.Path
        Holds the comparison as JSON, CSV and ``comparison.html``.
    table : list of dict
        A row per model and metric: ``model``, ``metric``, ``mean``, ``low``, ``high``, and ``difference`` from the
        first model with ``difference_low`` and ``difference_high`` (95 % intervals, paired over images).
    """

    folder: Path
    table: list[dict[str, Any]] = field(repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return the comparison as a table.

        Returns
        -------
        pandas.DataFrame
            A row per model and metric.
        """
        import pandas as pd

        return pd.DataFrame(self.table)


def compare(
    models: Sequence[AnyPath | BundleInfo],
    data: AnyPath | Sequence[AnyPath] | None,
    folder: AnyPath,
    *,
    split: str | None = None,
    include_seen: bool = False,
    progress: ProgressCallback | None = None,
) -> ModelComparison:
    """Compare models with the first of them, on the same images.

    Parameters
    ----------
    models : sequence of str, path-like or BundleInfo
        Two or more models that segment lesions, or two or more classifiers; or, without ``data``, the folders of
        evaluations.
    data : path-like or sequence of path-like, optional
        Data sets with reference masks or diagnoses. None: compare evaluations without running a model.
    folder : path-like
        Receives the results.
    split : str, optional
        Only images of this split, such as ``test``.
    include_seen : bool
        Include images that one of the models was trained on.
    progress : callable, optional
        Called with each ``Progress``.

    Returns
    -------
    ModelComparison
        Differences are paired over images, their intervals by bootstrap over patients or lesions.

    Raises
    ------
    InputError
        Where there are less than two models, or models of different tasks.
    DataSetError
        Where a data set is faulty, or no image could be measured.
    """
    from napari_melanoma.evaluation.evaluate_classes import is_class_evaluation

    out, run = Path(folder).expanduser(), to_run(progress)
    if data is None:
        folders = [Path(str(one)).expanduser() for one in models]
        kinds = {is_class_evaluation(one) for one in folders}
        _check_one_kind(len(folders), len(kinds), "evaluations")
        return _compare_evaluations(folders, out, classes=kinds == {True})
    bundles = [to_bundle(one) for one in models]
    tasks = {_task(one) for one in bundles}
    _check_one_kind(len(bundles), len(tasks), "models")
    given = {"split": split, "include_seen": include_seen}
    if tasks == {"masks"}:
        return _compare_masks(bundles, _paths(data), out, given, run)
    if tasks == {"classes"}:
        return _compare_classes(bundles, _paths(data), out, given, run)
    raise InputError(
        f"'{bundles[0].name}' neither segments lesions nor classifies photographs: use napari-melanoma compare."
    )


def _check_one_kind(count: int, kinds: int, what: str) -> None:
    """Raise where there is nothing to compare, or what cannot be compared."""
    if count < 2:
        raise InputError(f"a comparison needs two {what} or more; found {count}.")
    if kinds > 1:
        raise InputError(f"these {what} are of different tasks. Compare those of one task.")


def _compare_masks(
    bundles: list[BundleInfo], data: list[Path], out: Path, given: dict[str, Any], run: RunContext
) -> ModelComparison:
    """Compare models that segment lesions."""
    from napari_melanoma.data.dataset import check_dataset_names, select_for_split
    from napari_melanoma.data.dataset import read_dataset as read_samples
    from napari_melanoma.evaluation.compare_several import compare_several
    from napari_melanoma.evaluation.results import EvaluationOptions

    check_dataset_names(data)
    samples = [sample for one in data for sample in select_for_split(read_samples(one), given["split"])]
    options = EvaluationOptions.parse(given, "the options of compare")
    found = compare_several(bundles, samples, out, options, run=run)
    return ModelComparison(out, _mask_rows(found))


def _compare_classes(
    bundles: list[BundleInfo], data: list[Path], out: Path, given: dict[str, Any], run: RunContext
) -> ModelComparison:
    """Compare classifiers of photographs."""
    from napari_melanoma.evaluation.class_measurement import ClassEvaluationOptions
    from napari_melanoma.evaluation.compare_classes import compare_classifiers

    options = ClassEvaluationOptions.parse(given, "the options of compare")
    return ModelComparison(out, _class_rows(compare_classifiers(bundles, data, out, options, run=run)))


def _compare_evaluations(folders: list[Path], out: Path, *, classes: bool) -> ModelComparison:
    """Compare evaluations without running a model."""
    if classes:
        from napari_melanoma.evaluation.compare_classes import compare_class_evaluations

        return ModelComparison(out, _class_rows(compare_class_evaluations(folders, out)))
    from napari_melanoma.evaluation.compare_several import compare_evaluations

    return ModelComparison(out, _mask_rows(compare_evaluations(folders, out)))


def _mask_rows(found: ModelsComparison) -> list[dict[str, Any]]:
    """The rows of a comparison of segmentation models."""
    return [
        row
        for part in found.parts
        for one in part.standings
        for row in _rows(part.name, one.model, one.metrics, one.difference)
    ]


def _class_rows(found: ClassifierComparison) -> list[dict[str, Any]]:
    """The rows of a comparison of classifiers."""
    return [row for one in found.standings for row in _rows(one.part, one.model, one.metrics, one.difference)]


def _rows(
    part: str, model: str, metrics: Mapping[str, Estimate], difference: Mapping[str, Estimate]
) -> Iterator[dict[str, Any]]:
    """A row per metric."""
    for name, estimate in metrics.items():
        row: dict[str, Any] = {"data": part, "model": model, "metric": name}
        row |= {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "images": estimate.count}
        change = difference.get(name)
        row["difference"] = None if change is None else change.mean
        row["difference_low"] = None if change is None else change.low
        row["difference_high"] = None if change is None else change.high
        yield row
