"""Whole-slide images: reading, analysis, and Breslow thickness."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.api.inputs import (
    AnyPath,
    PixelSizeUm,
    ProgressCallback,
    check_flag,
    check_integer,
    describe,
    list_warnings,
    to_bundle,
    to_path,
    to_paths,
    to_pixel_size,
    to_run,
)
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.formatting import format_repr
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.slide import SlideInfo
from napari_melanoma.slides.reading.tiled import TiledSlide
from napari_melanoma.slides.tissue_classifier.classifier import TissueFitOptions

if TYPE_CHECKING:
    import pandas as pd


MAX_SIDE = 20_000  # pixels on the longer side of a thumbnail
MAX_PIXELS = 2**31 - 1  # in a rectangle that is read at once
CANDIDATE_COLUMNS = (  # of an empty table
    *("mm", "interval_mm", "at_least", "ulcerated", "ulcer_mm", "ulcer_share", "section", "lesion", "certain_mm"),
    *("possible_mm", "below_epidermis_mm", "notes", "surface", "deepest"),
)

__all__ = [
    "AnalyzedSlide",
    "BreslowMeasurement",
    "SlideImage",
    "analyze_slide",
    "fit_tissue_classifier",
    "measure_breslow",
    "open_slide",
]


class SlideImage:
    """An open whole-slide image, returned by ``open_slide``.

    Use it in a ``with`` statement, or close it after use. Several threads may read from it.

    Parameters
    ----------
    slide : TiledSlide
        The open file.
    """

    def __init__(self, slide: TiledSlide) -> None:
        self._slide = slide

    def __repr__(self) -> str:
        """Return a short text with size and scale."""
        return format_repr(self, name=self.info.name, levels=self.level_shapes, pixel_size_um=self.pixel_size_um)

    def __enter__(self) -> Self:
        """Return the slide itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    @property
    def info(self) -> SlideInfo:
        """The metadata of the file.

        With ``path``, ``name``, ``format``, ``levels`` (each with ``height``, ``width`` and ``downsample``),
        ``pixel_size`` (or None), ``magnification`` (of the objective, or None), ``kind`` (``brightfield`` or
        ``fluorescence``), ``channels`` (names), ``colors``, ``associated`` (names of further images, such as the
        label), ``properties`` (all other metadata, as text) and ``warnings``.
        """
        return self._slide.info

    @property
    def level_shapes(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of each level, the finest first."""
        return tuple((level.height, level.width) for level in self.info.levels)

    @property
    def pixel_size_um(self) -> tuple[float, float] | None:
        """Micrometers per pixel of the finest level along (row, column); None if unknown."""
        size = self.info.pixel_size
        return None if size is None else (size.y_um, size.x_um)

    def read(self, top: int, left: int, height: int, width: int, level: int = 0) -> NDArray[np.generic]:
        """Read a rectangle of pixels.

        Parameters
        ----------
        top, left, height, width : int
            In pixels of ``level``; the rectangle may extend beyond the slide.
        level : int
            0 is the finest level.

        Returns
        -------
        numpy.ndarray
            Brightfield: uint8 (row, column, channel=3), white outside. Fluorescence: uint8 or uint16 (row, column,
            channel), zero outside.

        Raises
        ------
        InputError
            If there is no such level or rectangle, or the file is damaged there.
        """
        from napari_melanoma.core.geometry import Box

        arguments = {"top": top, "left": left, "height": height, "width": width, "level": level}
        top, left, height, width, level = (check_integer(value, name) for name, value in arguments.items())
        if not 0 <= level < len(self.info.levels):
            raise InputError(f"{self.info.name} has the levels 0 to {len(self.info.levels) - 1}; found {level}.")
        if min(height, width) < 1 or height * width > MAX_PIXELS:
            raise InputError(f"a rectangle has 1 to {MAX_PIXELS} pixels; found {height} x {width}.")
        return self._slide.read_region(level, Box(top, left, height, width))

    def thumbnail(self, side_px: int = 1024) -> NDArray[np.uint8]:
        """Read the whole slide at reduced size.

        Parameters
        ----------
        side_px : int
            Pixels on the longer side, at most 20,000; a smaller slide is not enlarged.

        Returns
        -------
        numpy.ndarray
            uint8 (row, column, channel=3).

        Raises
        ------
        InputError
            If the size is not possible, or the file is damaged.
        """
        if not 0 < check_integer(side_px, "side_px") <= MAX_SIDE:
            raise InputError(f"side_px must be between 1 and {MAX_SIDE}; found {side_px}.")
        return self._slide.thumbnail(min(side_px, max(self.level_shapes[0])))

    def close(self) -> None:
        """Close the file; reading afterwards is an error."""
        self._slide.close()


def open_slide(path: AnyPath, pixel_size_um: PixelSizeUm | None = None) -> SlideImage:
    """Open a whole-slide image.

    Parameters
    ----------
    path : str or os.PathLike
        A file or folder that OpenSlide, tifffile or zarr can read: SVS, NDPI, MRXS, SCN, BIF, CZI, OME-TIFF, pyramidal
        TIFF, DICOM, OME-Zarr and others.
    pixel_size_um : float or (float, float), optional
        Micrometers per pixel of the finest level, one number or two along (row, column); by default the value in the
        file.

    Returns
    -------
    SlideImage
        The open slide; close it after use.

    Raises
    ------
    InputError
        If the file is missing, damaged or no slide, or the pixel size is not positive.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> with nm.open_slide("slide.svs") as slide:  # doctest: +SKIP
    ...     overview = slide.thumbnail(1024)
    ...     region = slide.read(top=2000, left=3000, height=512, width=512, level=0)
    """
    from napari_melanoma.slides.reading.opening import open_slide as open_tiled_slide

    size = None if pixel_size_um is None else to_pixel_size(pixel_size_um)
    return SlideImage(open_tiled_slide(to_path(path, "the slide"), size))


@dataclass(frozen=True, eq=False)
class AnalyzedSlide:
    """The result of the analysis of a slide.

    Parameters
    ----------
    name : str
        Name of the slide.
    folder : pathlib.Path
        Contains ``result.json``, ``result.zarr``, ``lesions.geojson``, ``lesions.csv`` and ``heatmap.ome.tif``.
    probability : float, optional
        Probability of the model's target class for the whole slide; None if the model predicts numbers. A model of
        whole slides predicts it. For other models it is by default the mean of the ten highest tiles.
        ``analyze_slide(..., options={"score": {"method": "mean"}})`` uses the mean over all tiles instead, weighted by
        their tissue, which is low if a lesion is small relative to the tissue; ``maximum`` the highest value.
    lesions : int
        Number of detected lesions, or of areas of ``target``.
    target : str, optional
        The class of interest, whose areas are counted and listed; None if the model has no tumor class and
        ``options={"target": CLASS}`` was not set.
    breslow_mm : float, optional
        Breslow thickness in mm, if the model can measure it.
    valid : bool
        Whether the model may be applied to this slide at all.
    warnings : tuple of str
        Reasons not to rely on the result.
    """

    name: str
    folder: Path
    probability: float | None
    lesions: int
    breslow_mm: float | None
    valid: bool
    warnings: tuple[str, ...]
    _content: Mapping[str, Any] = field(repr=False)
    target: str | None = None

    @classmethod
    def read(cls, folder: AnyPath) -> Self:
        """Read the result of an analysis from its folder.

        Parameters
        ----------
        folder : str or os.PathLike
            A folder written by ``analyze_slide``, the Slide dock or the command line.

        Returns
        -------
        AnalyzedSlide
            The result.

        Raises
        ------
        InputError
            If the folder does not contain a finished result.
        """
        from napari_melanoma.core.validity import read_validity
        from napari_melanoma.slides.lesion_files import read_analysis
        from napari_melanoma.slides.results import slide_probability

        path = to_path(folder, "an analyzed slide")
        content = read_analysis(path)
        if "tiles_total" not in content:
            raise InputError(
                f"{path} is not the folder of an analyzed slide: its result.json is missing, damaged or of something "
                "else. Run nm.analyze_slide(slide, folder) first, and pass that folder."
            )
        validity = read_validity(content)
        return cls(
            name=str(content.get("slide") or path.name),
            folder=path,
            probability=slide_probability(content),
            lesions=len(content.get("lesions") or ()),
            breslow_mm=content.get("breslow_mm"),
            valid=validity.valid,
            warnings=list_warnings(validity, *(content.get("warnings") or ())),
            _content=content,
            target=content.get("target") or None,
        )

    def to_pandas(self) -> pd.DataFrame:
        """Return the table of lesions.

        Returns
        -------
        pandas.DataFrame
            A row per lesion: ``index``, ``label``, ``probability`` (mean of the target class over the lesion alone),
            ``presence`` (mean probability of a lesion of any label), ``malignancy`` (probability that the lesion is
            malignant, which decides its label), ``area_mm2``, ``perimeter_mm``, ``height_mm``,
            ``width_mm``, ``area_px``, ``perimeter_px``, ``extent``, ``tissue_share``, ``seed_row_px``,
            ``seed_column_px``, ``origin``, ``valid`` and ``validity``.

        Raises
        ------
        InputError
            If the analysis detected no lesions, because the model does not, or the file was removed.
        """
        import pandas as pd

        from napari_melanoma.core.validity import read_validity
        from napari_melanoma.io.results import OUTLINES
        from napari_melanoma.slides.lesion_files import read_lesions
        from napari_melanoma.slides.lesions import LESION_COLUMNS, lesions_table

        rows = lesions_table(read_lesions(self._find_file(OUTLINES, "lesions").parent) or ())
        table = {name: [np.nan if row[name] is None else row[name] for row in rows] for name in LESION_COLUMNS}
        return pd.DataFrame(table).assign(**read_validity(self._content).to_columns())

    def heatmap(self) -> NDArray[np.generic]:
        """Read the probability maps.

        Returns
        -------
        numpy.ndarray
            (row, column), or (class, row, column), at a coarser resolution than the slide.

        Raises
        ------
        InputError
            If the model predicts no maps, or the file was removed.
        """
        import tifffile

        from napari_melanoma.io.results import HEATMAP

        return tifffile.imread(self._find_file(HEATMAP, "probability maps"))

    def _find_file(self, name: str, content: str) -> Path:
        """Return the path of a file of the result; raise an error if it does not exist."""
        path = self.folder / name
        if not path.is_file():
            raise InputError(
                f"{path} does not exist: the model of this analysis has no {content}, or the file was removed. Select "
                "another model, or analyze the slide again with force=True."
            )
        return path


def analyze_slide(
    slide: AnyPath,
    folder: AnyPath,
    model: AnyPath | BundleInfo = "",
    *,
    pixel_size_um: PixelSizeUm | None = None,
    options: SlideOptions | Mapping[str, object] | None = None,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> AnalyzedSlide:
    """Analyze a whole-slide image: tissue, tumor map, lesions and, if the model supports it, Breslow thickness.

    Parameters
    ----------
    slide : str or os.PathLike
        As for ``open_slide``.
    folder : str or os.PathLike
        Folder of the results. An analysis that was interrupted or failed, such as by a read error, keeps its finished
        tiles: call the function again with the same arguments to continue. The results of a finished one are read.
    model : str or os.PathLike or BundleInfo
        Name of a model, the folder of a bundle, a result of ``load_model``, or the ``Path`` of a training run; by
        default ``skin-tissue``, which maps tissue. The Breslow thickness requires a model that segments background,
        epidermis and tumor, such as a tissue classifier that was painted with these classes.
    pixel_size_um : float or (float, float), optional
        Micrometers per pixel of the finest level, one number, or height and width; by default the value in the file.
    options : SlideOptions or mapping, optional
        Further options, which ``SlideOptions`` checks, such as ``{"overlap": 0.5, "score": {"method": "maximum"}}``;
        the page "Options of a slide analysis" of the reference lists all.
    force : bool
        Start from the beginning, even if the folder contains results.
    progress : callable, optional
        Called with each ``Progress``.

    Returns
    -------
    AnalyzedSlide
        The result.

    Raises
    ------
    InputError
        If the slide cannot be read, the pixel size is not positive, or the options are not a mapping.
    ScaleMissing
        If the slide has no pixel size.
    BundleError, ConfigError
        If there is no such model or option.
    RunError
        If the folder contains results of another slide or of other options.
    """
    from napari_melanoma.slides.analysis import analyze_slide as analyze

    parsed = _to_slide_options(options, model, pixel_size_um)
    path, out = to_path(slide, "the slide"), to_path(folder, "the folder of the results")
    check_flag(force, "force")
    outcome = analyze(path, out, parsed, to_run(progress), force=bool(force))
    return AnalyzedSlide.read(outcome.folder)


def fit_tissue_classifier(
    slides: AnyPath | Iterable[AnyPath],
    strokes: AnyPath | Iterable[AnyPath] = (),
    *,
    folder: AnyPath,
    pixel_size_um: PixelSizeUm | None = None,
    options: TissueFitOptions | Mapping[str, object] | None = None,
    progress: ProgressCallback | None = None,
) -> BundleInfo:
    """Fit a tissue classifier on strokes that were painted on slides, and write it as a model.

    Parameters
    ----------
    slides : str or os.PathLike, or iterable of them
        One or several slides, as for ``open_slide``.
    strokes : str or os.PathLike, or iterable of them
        A GeoJSON file for each slide, named after it or in the same order, or folders with files named after the
        slides; by default the strokes that were painted in the Slide dock.
    folder : str or os.PathLike
        Receives the bundle; a previous one is replaced.
    pixel_size_um : float or (float, float), optional
        Micrometers per pixel of the finest level of the slides; by default those that were set in the Slide dock, or
        the values in the files.
    options : TissueFitOptions or mapping, optional
        Features and kinds of classifiers to choose from, and smoothing, such as ``{"sources": ("texture",),
        "smoothing": 1.0}``.
    progress : callable, optional
        Called with each ``Progress``.

    Returns
    -------
    BundleInfo
        The model, for ``analyze_slide``. ``config.provenance["painted"]`` has the strokes of each class, and the
        accuracy on strokes and slides left out. Limitations of the accuracy are issued as warnings.

    Raises
    ------
    InputError
        If a slide or its strokes cannot be read, or fewer than two classes have strokes.
    ScaleMissing
        If a slide has no pixel size.
    ConfigError
        If there is no such option.

    Examples
    --------
    >>> import napari_melanoma as nm
    >>> model = nm.fit_tissue_classifier("slide.svs", "strokes.geojson", folder="skin-layers")  # doctest: +SKIP
    >>> nm.analyze_slide("other.svs", "results/other", model)  # doctest: +SKIP
    """
    from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
    from napari_melanoma.slides.tissue_classifier.classifier import fit_tissue_classifier
    from napari_melanoma.slides.tissue_classifier.painted_files import find_painted_slides

    parsed, size = _to_fit_options(options), None if pixel_size_um is None else to_pixel_size(pixel_size_um)
    out = to_path(folder, "the folder of the model")
    in_order = not isinstance(slides, Set) and not isinstance(strokes, Set)
    paths = to_paths(slides, "a slide"), to_paths(strokes, "the strokes")
    painted = find_painted_slides(*paths, size, in_order=in_order)
    classifier = fit_tissue_classifier(painted, parsed, to_run(progress))
    for text in (*classifier.notes, *classifier.validation.warnings):
        warnings.warn(text, stacklevel=2)
    return write_tissue_bundle(out, classifier)


def _to_fit_options(options: TissueFitOptions | Mapping[str, object] | None) -> TissueFitOptions:
    """Convert the options of ``fit_tissue_classifier``."""
    from napari_melanoma.slides.tissue_classifier.classifier import TissueFitOptions

    if isinstance(options, TissueFitOptions):
        return options
    if not isinstance(options, Mapping | None):
        raise InputError(
            f"the options of fit_tissue_classifier are TissueFitOptions or a mapping; found {describe(options)}."
        )
    return TissueFitOptions.parse(dict(options or {}), "fit_tissue_classifier")


def _to_slide_options(
    options: SlideOptions | Mapping[str, object] | None, model: AnyPath | BundleInfo, pixel_size_um: PixelSizeUm | None
) -> SlideOptions:
    """Combine the options of an analysis with the arguments ``model`` and ``pixel_size_um``."""
    from napari_melanoma.models.hub import download_named
    from napari_melanoma.slides.options import SlideOptions

    if not isinstance(options, SlideOptions | Mapping | None):
        raise InputError(f"the options of analyze_slide are SlideOptions or a mapping; found {describe(options)}.")
    values = options.model_dump() if isinstance(options, SlideOptions) else dict(options or {})
    if isinstance(model, str):  # may also name an encoder
        values |= {"model": model} if to_path(model, "a model") and model else {}
    elif model is not None:
        values["model"] = str(to_bundle(model).path)
    if pixel_size_um is not None:
        size = to_pixel_size(pixel_size_um)
        height = None if size.y_um == size.x_um else size.y_um
        given = SlideOptions.parse({"mpp": size.x_um, "mpp_y": height}, "pixel_size_um")
        values["mpp"], values["mpp_y"] = given.mpp, given.mpp_y
    parsed = SlideOptions.parse(values, "analyze_slide")
    download_named(parsed.model)
    return parsed


@dataclass(frozen=True)
class BreslowMeasurement:
    """The Breslow thickness of a slide.

    Parameters
    ----------
    mm : float, optional
        Thickness in mm; None if nothing could be measured, for the reason in ``notes``.
    interval_mm : (float, float), optional
        90 % interval, if the errors of the model are known.
    t_category : str, optional
        T category (AJCC, 8th edition), such as ``T1a``.
    at_least : bool
        Whether the lesion reaches the edge of the section, so that it may be thicker.
    notes : tuple of str
        Notes on the measurement.
    valid : bool
        Whether the model may be applied to this slide at all.
    """

    mm: float | None
    interval_mm: tuple[float, float] | None
    t_category: str | None
    at_least: bool
    notes: tuple[str, ...]
    valid: bool
    _candidates: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)

    def to_pandas(self) -> pd.DataFrame:
        """Return all candidate measurements as a table.

        Returns
        -------
        pandas.DataFrame
            A row per candidate, the most likely first: ``mm``, ``interval_mm``, ``at_least``, ``ulcerated``,
            ``ulcer_mm``, ``ulcer_share``, ``section``, ``lesion``, ``certain_mm``, ``possible_mm``,
            ``below_epidermis_mm``, ``notes``, and the points ``surface`` and ``deepest`` as (row, column) in pixels.
            ``section`` counts from 0, unlike in ``notes``; ``lesion`` from 1.
        """
        import pandas as pd

        return pd.DataFrame(self._candidates, columns=None if self._candidates else CANDIDATE_COLUMNS)


def measure_breslow(slide: AnalyzedSlide | AnyPath) -> BreslowMeasurement:
    """Return the Breslow thickness that the analysis of a slide has measured.

    It is the distance from the top of the granular layer, or the base of an ulcer, to the deepest invasive cells, at a
    right angle to the skin (Gershenwald et al. 2017, doi:10.3322/caac.21409).

    Parameters
    ----------
    slide : AnalyzedSlide or str or os.PathLike
        The result of ``analyze_slide``, or its folder.

    Returns
    -------
    BreslowMeasurement
        The measurement of the thickest lesion that can be measured.

    Raises
    ------
    InputError
        If the folder contains no result, or the model does not distinguish the layers of the skin.
    """
    from napari_melanoma.core.validity import Validity

    analyzed = slide if isinstance(slide, AnalyzedSlide) else AnalyzedSlide.read(slide)
    content = analyzed._content
    depth = content.get("depth")
    if depth is None:
        raise InputError(
            f"{analyzed.name} was analyzed with a model that does not distinguish the layers of the skin. Analyze it "
            f"into another folder with one that does (installed: {', '.join(_list_depth_models()) or 'none'})."
        )
    interval = content.get("breslow_interval_mm")
    validity = Validity.from_json(depth.get("validity"))
    return BreslowMeasurement(
        mm=content.get("breslow_mm"),
        interval_mm=None if interval is None else (float(interval[0]), float(interval[1])),
        t_category=content.get("t_category"),
        at_least=bool(depth.get("at_least")),
        notes=tuple(depth.get("notes") or ()),
        valid=analyzed.valid and (validity is None or validity.valid),
        _candidates=tuple(depth.get("candidates") or ()),
    )


def _list_depth_models() -> list[str]:
    """List the installed slide models that distinguish the layers of the skin."""
    from napari_melanoma.depth.tumor_maps import ClassRoles
    from napari_melanoma.models.installed_bundles import list_bundles

    return [
        bundle.name
        for bundle in list_bundles()
        if bundle.config.is_slide_model and ClassRoles.from_names(bundle.config.role_names)
    ]
