"""Adaptation of a classifier to the photographs of a clinic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_melanoma.api.inputs import AnyPath, ProgressCallback, to_bundle, to_path, to_run
from napari_melanoma.core.paths import real_path
from napari_melanoma.models.bundle import BundleInfo

if TYPE_CHECKING:
    import pandas as pd

    from napari_melanoma.evaluation.adaptation_card import AdaptationFigures

__all__ = ["AdaptedModel", "adapt"]

ENDS = ("mean", "low", "high")  # of an estimate


@dataclass(frozen=True)
class AdaptedModel:
    """A classifier that was adapted to the photographs of a clinic.

    Parameters
    ----------
    model : BundleInfo
        The adapted model; the model itself if it is better kept as it is.
    kept : bool
        Whether the model is kept as it is.
    advice : {"activate", "keep", "inconclusive"}
        Whether to use the adapted model, with ``reason``.
    chosen : str
        The chosen candidate, such as ``"stacked, ridge 0.3"``.
    table : list of dict
        The rows of ``to_pandas``.
    left_out : dict of str to list of str
        Reason to photographs that were not used.
    warnings : tuple of str
        Limitations of the figures.
    """

    model: BundleInfo
    kept: bool
    advice: str
    reason: str
    chosen: str
    table: list[dict[str, Any]] = field(repr=False)
    left_out: dict[str, list[str]] = field(repr=False)
    warnings: tuple[str, ...]

    def to_pandas(self) -> pd.DataFrame:
        """Return the figures of both models as a table.

        Returns
        -------
        pandas.DataFrame
            A row per metric: ``metric``, and ``mean``, ``low`` and ``high`` of each model, with the prefix ``before_``
            or ``after_``. Each photograph is predicted without its patient or lesion.
        """
        import pandas as pd

        return pd.DataFrame(self.table)


def adapt(
    model: AnyPath | BundleInfo,
    data: AnyPath,
    folder: AnyPath | None = None,
    *,
    target: str = "",
    group: str = "",
    sensitivity: float = 0.9,
    progress: ProgressCallback | None = None,
) -> AdaptedModel:
    """Adapt a classifier to the photographs of a clinic, by a linear layer that is fitted in seconds.

    Parameters
    ----------
    model : str, path-like or BundleInfo
        A classifier of photographs.
    data : str or os.PathLike
        Data set with the column ``diagnosis``; embeddings are stored in it.
    folder : str or os.PathLike, optional
        Receives the bundle; by default a folder of the user's model folder, named after model and data set.
    target : str
        Class of interest, such as ``"melanoma"``; by default the positive class of the model.
    group : str
        Column that names the patient; by default ``patient_id``, else ``lesion_id``, else each photograph by itself.
    sensitivity : float
        Sensitivity that the decision threshold is chosen for.
    progress : callable, optional
        Called with each ``Progress``.

    Returns
    -------
    AdaptedModel

    Raises
    ------
    InputError
        If there are too few photographs or classes, or photographs of several types; it states what is missing.
    DataSetError
        If the data set is invalid.
    BundleError
        If the model cannot be adapted.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> adapted = nm.adapt("melanoma-small", "datasets/clinic", "melanoma-clinic")  # doctest: +SKIP
    >>> nm.classify("photo.jpg", model=adapted.model)  # doctest: +SKIP
    """
    from napari_melanoma.models.bundle import user_models_folder
    from napari_melanoma.runs.adapting import adapt as adapt_model
    from napari_melanoma.runs.clinic_photographs import AdaptOptions

    info, dataset = to_bundle(model), to_path(data, "a data set")
    options = AdaptOptions.parse({"target": target, "group": group, "sensitivity": sensitivity}, "adapt")
    default = user_models_folder() / f"{info.name}-{real_path(dataset).name}"
    out = default if folder is None else to_path(folder, "the folder of the model")
    found = adapt_model(info, dataset, out, options, run=to_run(progress))
    left_out = {reason: list(names) for reason, names in found.plan.left_out.items()}
    figures, facts = found.figures, (found.chosen, _list_figures(found.figures), left_out, found.warnings)
    return AdaptedModel(found.bundle or info, found.bundle is None, figures.advice, figures.reason, *facts)


def _list_figures(figures: AdaptationFigures) -> list[dict[str, Any]]:
    """Return a row for each metric that both models have."""
    columns = {"before": figures.shipped, "after": figures.adapted}
    return [
        {"metric": name, **{f"{when}_{end}": getattr(one[name], end) for when, one in columns.items() for end in ENDS}}
        for name in figures.adapted
        if name in figures.shipped
    ]
