"""Models and patient cases; training, evaluation, comparison and export of models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.api.datasets import to_folders
from napari_melanoma.api.inputs import (
    AnyPath,
    check_flag,
    check_integer,
    check_sequence,
    describe,
    to_bundle,
    to_path,
    to_paths,
    to_run,
)
from napari_melanoma.core.errors import InputError, RunError
from napari_melanoma.core.formatting import format_repr
from napari_melanoma.core.packages import prepare_torch
from napari_melanoma.core.paths import free_name
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    import pandas as pd

    from napari_melanoma.api.inputs import ProgressCallback
    from napari_melanoma.case.model import Case
    from napari_melanoma.evaluation.comparison_results import Comparison, ModelsComparison
    from napari_melanoma.metrics.statistics import Estimate
    from napari_melanoma.training.recipe import TrainRecipe

__all__ = [
    "EvaluationSummary",
    "ModelComparison",
    "PatientCase",
    "RunInfo",
    "compare",
    "evaluate",
    "export",
    "list_models",
    "load_model",
    "read_case",
    "read_run",
    "train",
]


def list_models() -> list[BundleInfo]:
    """List the installed models that can be used: the shipped ones, then those in the user's model folder.

    Returns
    -------
    list of BundleInfo
        As from ``load_model``. ``config`` shows what each is for: ``task`` (``segmentation`` or ``classification``),
        ``classes``, ``modalities`` (types of photograph), ``is_slide_model`` and ``answers_prompts``.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> "lesion-small" in [model.name for model in nm.list_models()]
    True
    """
    from napari_melanoma.models.installed_bundles import list_bundles

    return list_bundles()


def load_model(name: AnyPath) -> BundleInfo:
    """Find a model; its weights are read on first use.

    Parameters
    ----------
    name : str or os.PathLike
        Name of an installed model (``list_models``), or the folder of a bundle or of a training run.

    Returns
    -------
    BundleInfo
        With ``name``, ``path``, ``config`` (task, classes, input size ...), ``patient_data_columns`` (the columns that
        a classifier uses) and ``card``, the model card in Markdown; accepted by all functions that take a model.

    Raises
    ------
    BundleError
        If there is no such model, or it cannot be used.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> nm.load_model("lesion-small").config.task
    'segmentation'
    >>> nm.load_model("melanoma-small").patient_data_columns
    ('age', 'sex')
    """
    return to_bundle(name)


@dataclass(frozen=True)
class PatientCase:
    """The lesions of a patient, with their images and stored results.

    Parameters
    ----------
    folder : pathlib.Path
        Folder with ``case.json``.
    case : Case
        Patient, lesions and images.
    missing : dict of str to str
        For each image whose file was not found, by image id, the reason.
    """

    folder: Path
    case: Case
    missing: Mapping[str, str]

    def __repr__(self) -> str:
        """Return a short text with the numbers of lesions and images."""
        images = len(list(self.case.iterate_images()))
        counts = {"lesions": len(self.case.lesions), "images": images, "missing": len(self.missing)}
        return format_repr(self, folder=str(self.folder), **counts)

    def to_pandas(self) -> pd.DataFrame:
        """Return the images as a table.

        Returns
        -------
        pandas.DataFrame
            A row per image: ``image``, ``lesion``, ``modality``, ``taken_on``, ``path``, ``corrected`` (whether the
            mask was corrected) and ``results`` (their number).
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
    """Read a case without writing anything; it may be open in another program.

    Parameters
    ----------
    folder : str or os.PathLike
        Folder with ``case.json``.

    Returns
    -------
    PatientCase
        The stored case.

    Raises
    ------
    InputError
        If the folder contains no case, or a damaged one.
    """
    from napari_melanoma.case.store import CaseStore

    store = CaseStore.open_read_only(to_path(folder, "a case"))
    return PatientCase(store.folder, store.case, dict(store.missing))


def export(model: AnyPath | BundleInfo, format: str = "onnx", path: AnyPath | None = None) -> Path:
    """Export a model for other programs.

    Parameters
    ----------
    model : str or os.PathLike or BundleInfo
        As for ``load_model``.
    format : str
        ``onnx``: the input is uint8 RGB (batch, side, side, 3), the output is logits, or the calibrated probabilities
        of a classifier. ``config.json`` is embedded in the file, and ``example.py`` beside it reproduces the results of
        this program. ``bioimageio``: a package of the BioImage Model Zoo. ``hub``: the files that ``push`` uploads to
        the Hugging Face hub, in a folder.
    path : str or os.PathLike, optional
        The file, which is replaced, or for ``hub`` the new folder; by default the model's name with the suffix, in the
        working folder.

    Returns
    -------
    pathlib.Path
        The file or the folder.

    Raises
    ------
    BundleError
        If there is no such model, it cannot be exported, or the folder exists.
    InputError
        If the format is unknown.
    ConfigError
        If the file has another suffix.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> nm.export("lesion-small", "onnx")  # doctest: +SKIP
    PosixPath('lesion-small.onnx')
    """
    from napari_melanoma.models.export_formats import ModelFormat, export_model

    try:
        model_format = ModelFormat(format)
    except ValueError:
        raise InputError(f"format must be one of {', '.join(ModelFormat)}; found {describe(format)}.") from None
    info = to_bundle(model)
    prepare_torch()
    return export_model(info, model_format, None if path is None else to_path(path, "the file"))


@dataclass(frozen=True)
class RunInfo:
    """A training run at one moment.

    Parameters
    ----------
    folder : pathlib.Path
        The run folder.
    state : str
        ``running``, ``finished``, ``cancelled``, ``failed``, ``lost`` (its process ended without a message) or others.
    message : str
        The state or error in a sentence.
    recipe : TrainRecipe, optional
        The recipe; None if another version of this program wrote it.
    model : BundleInfo, optional
        The trained model; None before the run is finished.
    """

    folder: Path
    state: str
    message: str
    recipe: TrainRecipe | None = field(repr=False)
    model: BundleInfo | None

    def history(self) -> pd.DataFrame:
        """Return losses and metrics of the finished epochs.

        Returns
        -------
        pandas.DataFrame
            A row per epoch, with the ``epoch`` counted from 1 as the index, and the columns of ``metrics.csv``.
        """
        import pandas as pd

        from napari_melanoma.runs.launching import read_run as read_run_folder

        table = pd.DataFrame(read_run_folder(self.folder).metrics)
        if table.empty:
            return pd.DataFrame(index=pd.Index([], name="epoch", dtype=int))
        return table.assign(epoch=table["epoch"].astype(int) + 1).set_index("epoch")


def read_run(folder: AnyPath) -> RunInfo:
    """Read the state of a training run, also of one that is running.

    Parameters
    ----------
    folder : str or os.PathLike
        The run folder.

    Returns
    -------
    RunInfo
        With ``state``, ``model`` and ``history()``.

    Raises
    ------
    RunError
        If the folder contains no run.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> nm.read_run("run").history().plot()  # doctest: +SKIP
    """
    from napari_melanoma.runs.folds import FOLDS
    from napari_melanoma.runs.launching import is_run
    from napari_melanoma.runs.launching import read_run as read_run_folder

    path = to_path(folder, "the run folder")
    if (path / FOLDS).exists():
        raise RunError(
            f"{path} contains the runs of a cross-validation. Pass that of a fold, such as {path / 'fold-1'}."
        )
    if not is_run(path):
        raise RunError(f"{path} contains no run. Pass the folder that nm.train wrote to.")
    report = read_run_folder(path)
    model = None if report.bundle is None else to_bundle(report.bundle)
    return RunInfo(path, str(report.state), report.message, report.recipe, model)


def train(
    recipe: AnyPath | TrainRecipe | Mapping[str, Any],
    folder: AnyPath,
    *,
    folds: int | None = None,
    resume: bool = False,
    progress: ProgressCallback | None = None,
) -> BundleInfo:
    """Train a model in this process.

    Parameters
    ----------
    recipe : str or os.PathLike or mapping or TrainRecipe
        A TOML file, or its content. The page "Recipe" of the reference lists all keys; ``napari-melanoma recipes write
        NAME`` writes a full recipe. Only ``data.datasets`` is required, paths or ``DataSet`` objects. Common keys:
        ``name``, ``task`` (``segmentation`` or ``classification``), ``epochs``, ``batch_size``, ``learning_rate``,
        ``data`` (``split``: ``train``, or ``all`` for all rows), ``model`` (``architecture``, ``input_size`` and
        ``start``: ``imagenet``, ``none`` or a model), and ``classification`` (``target``: the column with the class;
        ``positive``; ``tabular``: columns of patient data as inputs; ``view``: the lesion, or the whole photograph).
    folder : str or os.PathLike
        The run folder, outside of the data sets, for checkpoints, ``bundle/``, and ``metrics.csv`` with the losses and
        metrics of each epoch. Functions with an argument ``model`` accept this folder.
    folds : int, optional
        Train a model for each fold, in ``fold-1`` and so on, and return their ensemble; see ``folds.html``.
    resume : bool
        Resume the run in the folder.
    progress : callable, optional
        Called with each ``Progress``; its exceptions end the run, which can be resumed.

    Returns
    -------
    BundleInfo
        The trained model: that of the best epoch, or of the last epoch if the recipe sets ``keep = "last"``.

    Raises
    ------
    ConfigError, DataSetError
        If the recipe or the data cannot be used.
    InputError
        If the recipe uses several processes, or the run folder lies in a data set.
    RunError, TrainingError
        If the folder has another run, or none to resume, or training fails, or folds cannot be combined.

    Examples
    --------
    >>> nm.train({"data": {"datasets": ["ds0"]}, "epochs": 1}, "run")  # doctest: +SKIP
    >>> nm.train("recipe.toml", "run-2", folds=5)  # doctest: +SKIP
    """
    from napari_melanoma.runs.train import train as train_recipe

    check_flag(resume, "resume")
    checked, out = _to_recipe(recipe, resume), to_path(folder, "the run folder")
    if folds is not None:
        return _train_folds(checked, check_integer(folds, "folds"), out, resume, progress)
    bundle = train_recipe(checked, out, resume=bool(resume), run=to_run(progress), graphs=True)
    assert bundle is not None  # only helper processes return None
    return bundle


def _train_folds(
    recipe: TrainRecipe, folds: int, out: Path, resume: bool, progress: ProgressCallback | None
) -> BundleInfo:
    """Train a model for each fold, and return their ensemble."""
    from napari_melanoma.runs.folds import train_folds

    result = train_folds(recipe, folds, out, resume=resume, run=to_run(progress))
    if result.ensemble is None:
        raise RunError(f"{' '.join(result.notices)} They are in {out}.")
    return result.ensemble


def _to_recipe(recipe: AnyPath | TrainRecipe | Mapping[str, Any], resume: bool) -> TrainRecipe:
    """Read and check a recipe, and download its models; raise an error if it uses several processes."""
    from napari_melanoma.core.config import read_toml
    from napari_melanoma.core.packages import require_training_packages
    from napari_melanoma.models.hub import download_named
    from napari_melanoma.training.engine import process_count
    from napari_melanoma.training.recipe import TrainRecipe

    if isinstance(recipe, Mapping):
        recipe = TrainRecipe.parse(_paths_to_texts(recipe), "the recipe")
    elif not isinstance(recipe, TrainRecipe):
        recipe = read_toml(to_path(recipe, "a recipe that is no mapping"), TrainRecipe)
    require_training_packages()
    prepare_torch()
    if (processes := process_count(recipe)) > 1:  # each would run the whole script of the user again
        raise InputError(
            f"the recipe uses {processes} processes, which only napari-melanoma train --config FILE can start. Set "
            "devices and nodes to 1."
        )
    if not resume:  # which needs its checkpoint only
        download_named(recipe.model_dump())
    return recipe


def _paths_to_texts(value: Any) -> Any:  # noqa: ANN401 - any content of a recipe
    """Replace paths and data sets within a recipe by their text."""
    if isinstance(value, Mapping):
        return {name: _paths_to_texts(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_paths_to_texts(item) for item in value]
    return fspath(value) if isinstance(value, PathLike) else value


@dataclass(frozen=True)
class EvaluationSummary:
    """The results of an evaluation.

    Parameters
    ----------
    folder : pathlib.Path
        Folder with ``metrics.json``, ``per_image.csv``, ``summary.html`` and ``figures/``.
    metrics : dict of str to Estimate
        For each metric of all images: ``mean``, ``low`` and ``high`` (95 % interval), and ``count``, such as
        ``metrics["DI"].low``.
    parts : dict of str to dict of str to Estimate
        The metrics of each data set, by its name.
    failed : dict of str to str
        For each image that could not be measured, by image id, the reason; by ``<data set>/<image id>`` where several
        data sets have an image of that id that could not be measured.
    warnings : tuple of str
        Limitations of the metrics.

    Notes
    -----
    The reference page "Metrics" defines each key of ``metrics``: title, unit, and whether higher or lower is better.
    Masks have ``DI``, ``JA`` and others, label images also ``DI <class>`` and ``JA <class>``, classes ``AUC``,
    ``sensitivity`` and others, and models that predict a depth ``depth_mae_mm`` and others.
    """

    folder: Path
    metrics: dict[str, Estimate]
    parts: dict[str, dict[str, Estimate]] = field(repr=False)
    failed: dict[str, str]
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        """Return a short text with the metrics of all images."""
        metrics = {name: estimate.mean for name, estimate in self.metrics.items()}
        values = {"metrics": metrics, "failed": len(self.failed), "warnings": self.warnings}
        return format_repr(self, folder=str(self.folder), **values)

    def to_pandas(self) -> pd.DataFrame:
        """Return the metrics as a table.

        Returns
        -------
        pandas.DataFrame
            A row per part of the data and metric: ``data`` (``all``, then each data set if there are several),
            ``metric``, ``mean``, ``low``, ``high`` and ``count``.
        """
        import pandas as pd

        parts = {"all": self.metrics, **(self.parts if len(self.parts) > 1 else {})}
        rows = [
            {"data": part, "metric": name, **vars(estimate)}
            for part, estimates in parts.items()
            for name, estimate in estimates.items()
        ]
        return pd.DataFrame(rows)

    def per_image(self) -> pd.DataFrame:
        """Return the table of all images.

        Returns
        -------
        pandas.DataFrame
            A row per image: ``image_id``, ``domain`` (its data set), ``split``, ``group`` (its patient or lesion),
            ``diagnosis``, ``status`` (``done`` or ``failed``), ``error``, and ``trained_on`` (the model, if it was
            trained on the image). Masks: its metrics, and properties that make it difficult. Classes: ``label`` (the
            true class), ``predicted_class`` (of two by the decision threshold, of more the most probable), and
            ``probability_<class>``. These names are texts, also if they are digits such as ``007``; all other columns
            are numbers. Empty cells are NaN. The guide "Evaluate a model" explains all columns.
        """
        from napari_melanoma.evaluation.pipeline import read_image_table

        return read_image_table(self.folder)


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
    model : str or os.PathLike or BundleInfo
        Name of a model, the folder of a bundle or of a training run, or a result of ``load_model``.
    data : path-like or sequence of path-like
        Data sets with reference masks or diagnoses.
    folder : str or os.PathLike
        Folder of the results. An interrupted evaluation is continued, a finished one is replaced. Use a separate folder
        for each model, outside of the data sets.
    split : str, optional
        Only images of this split, such as ``test``.
    include_seen : bool
        Include images that the model was trained on.
    progress : callable, optional
        Called with each ``Progress``.
    **options
        Options of ``napari-melanoma evaluate``, such as ``flips=True`` for masks, ``target=COLUMN`` for classes.

    Returns
    -------
    EvaluationSummary
        With ``metrics`` such as ``DI`` (Dice) and ``JA`` (Jaccard) of masks, or ``AUC`` and ``sensitivity`` of classes;
        all are explained in ``EvaluationSummary``.

    Raises
    ------
    InputError
        If the folder is a data set or lies in one.
    DataSetError
        If a data set is invalid, or no image could be measured.
    BundleError, ConfigError
        If there is no such model or option.
    RunError
        If another process writes into the folder.
    """
    from napari_melanoma.core.locks import hold_output_lock
    from napari_melanoma.evaluation.any_task import check_evaluation_folder, evaluate_model
    from napari_melanoma.evaluation.pipeline import ALL_IMAGES

    out = to_path(folder, "the folder of the results")
    values = {"split": split, "include_seen": include_seen, **options}
    bundle, folders = to_bundle(model), to_folders(data)
    check_evaluation_folder(out, folders)
    with hold_output_lock(out):
        evaluation = evaluate_model(bundle, folders, out, values, source="evaluate", run=to_run(progress))
    ids = Counter(item.sample.image_id for item in evaluation.failed)
    failed = {
        item.sample.image_id if ids[item.sample.image_id] == 1 else item.sample.full_name: item.error
        for item in evaluation.failed
    }
    parts = {part: dict(estimates) for part, estimates in evaluation.parts.items()}
    return EvaluationSummary(out, parts.pop(ALL_IMAGES), parts, failed, tuple(evaluation.warnings))


@dataclass(frozen=True)
class ModelComparison:
    """A comparison of models on the same images.

    Parameters
    ----------
    folder : pathlib.Path
        Folder with the comparison as JSON, CSV and ``comparison.html``.
    table : list of dict
        The rows of ``to_pandas``. ``difference`` is that from the first model; intervals are 95 % intervals, of
        differences paired over images.
    warnings : tuple of str
        Limitations of the comparison.
    """

    folder: Path
    table: list[dict[str, Any]] = field(repr=False)
    warnings: tuple[str, ...]
    _tests: Mapping[str, dict[str, float]] = field(default_factory=dict, repr=False)

    @property
    def auc_tests(self) -> dict[str, dict[str, float]]:
        """DeLong's test of the AUC of each classifier against the first one, by its name; empty for other models.

        With the AUCs ``first`` and ``second``, ``difference``, its 95 % interval ``low`` to ``high``, and ``p``.
        """
        return dict(self._tests)

    def to_pandas(self) -> pd.DataFrame:
        """Return the comparison as a table.

        Returns
        -------
        pandas.DataFrame
            A row per part of the data, model and metric: ``data``, ``model``, ``metric``, ``mean``, ``low``, ``high``,
            ``images``, and ``difference``, ``difference_low`` and ``difference_high``, empty for the first model.
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
    """Compare models with the first model, on the same images.

    Parameters
    ----------
    models : sequence of str, path-like or BundleInfo
        Two or more models that segment lesions, two models that segment the same classes, or two or more
        classifiers of the same classes; or, without ``data``, the folders of evaluations.
    data : path-like or sequence of path-like, optional
        Data sets with reference masks or diagnoses. None: compare evaluations without running a model.
    folder : str or os.PathLike
        Folder of the results, outside of the data sets.
    split, progress
        As for ``evaluate``.
    include_seen : bool
        Include images that one of the models was trained on.

    Returns
    -------
    ModelComparison
        Differences are paired over images; their intervals are computed by bootstrap over patients or lesions.

    Raises
    ------
    InputError
        If there are fewer than two models, or models of different tasks, or the folder lies in a data set.
    DataSetError
        If a data set is invalid, or no image could be measured.
    RunError
        If another process writes into the folder.
    """
    from napari_melanoma.core.locks import hold_output_lock
    from napari_melanoma.data.dataset import require_outside_datasets
    from napari_melanoma.evaluation.any_task import compare_models
    from napari_melanoma.evaluation.comparison_results import Comparison
    from napari_melanoma.evaluation.model_comparison import check_comparison_folder, compare_evaluation_folders

    out = to_path(folder, "the folder of the results")
    check_sequence(models, "models")
    if data is None:
        if split is not None or include_seen:
            raise InputError(
                "split and include_seen have no effect without data: stored evaluations are compared on their images. "
                "Leave them out, or pass data."
            )
        evaluations = to_paths(models, "an evaluation")
        check_comparison_folder(evaluations, out)
        with hold_output_lock(out):
            return _to_comparison(out, compare_evaluation_folders(evaluations, out))
    bundles, folders, values = (
        list(map(to_bundle, models)),
        to_folders(data),
        {"split": split, "include_seen": include_seen},
    )
    require_outside_datasets(out, folders)
    with hold_output_lock(out):
        compared = compare_models(bundles, folders, out, values, advise=False, source="compare", run=to_run(progress))
    if isinstance(compared, Comparison):
        return ModelComparison(out, _pair_rows(compared), tuple(compared.facts.get("warnings", ())))
    return _to_comparison(out, compared)


def _to_comparison(folder: Path, comparison: ModelsComparison) -> ModelComparison:
    tests = comparison.facts.get("delong", {})
    return ModelComparison(folder, _several_rows(comparison), comparison.warnings, tests)


def _several_rows(comparison: ModelsComparison) -> list[dict[str, Any]]:
    """Return the rows of a comparison of several models."""
    return [
        row
        for part in comparison.parts
        for model in part.models
        for row in _rows(part.name, model.model, model.metrics, model.difference)
    ]


def _pair_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the rows of a comparison of an old and a new model, whose names are distinct as those of several."""
    first = comparison.old.name
    second = free_name(comparison.new.name, {first.lower()})
    parts = [("all", comparison.old.metrics, comparison.new.metrics, comparison.difference)]
    if len(comparison.domains) > 1:
        parts += [(domain.name, domain.old, domain.new, domain.difference) for domain in comparison.domains]
    return [
        row
        for part, old, new, difference in parts
        for model, metrics, change in ((first, old, {}), (second, new, difference))
        for row in _rows(part, model, metrics, change)
    ]


def _rows(
    part: str, model: str, metrics: Mapping[str, Estimate], difference: Mapping[str, Estimate]
) -> Iterator[dict[str, Any]]:
    """Yield a row per metric, with the difference from the first model if there is one."""
    for name, estimate in metrics.items():
        row: dict[str, Any] = {"data": part, "model": model, "metric": name}
        row |= {"mean": estimate.mean, "low": estimate.low, "high": estimate.high, "images": estimate.count}
        change = difference.get(name)
        row["difference"] = None if change is None else change.mean
        row["difference_low"] = None if change is None else change.low
        row["difference_high"] = None if change is None else change.high
        yield row
