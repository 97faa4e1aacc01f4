"""Fit a tissue classifier on the strokes of one or several slides; roles of its classes in lesions and depth."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.config import Config
from napari_melanoma.core.context import NULL_CONTEXT, PartContext, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.prediction_config import TissueRole
from napari_melanoma.io.geojson import Color
from napari_melanoma.models.inference import Device
from napari_melanoma.slides.maps import MAX_SIGMA
from napari_melanoma.slides.reading.composite import complete_limits, read_as_rgb
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.results import MIN_REGION_CELLS
from napari_melanoma.slides.tissue_classifier.feature_sources import (
    SHIPPED_SOURCES,
    FeatureSource,
    is_published,
    open_feature_source,
    remember_encoder,
)
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.fitting import (
    KINDS,
    STRENGTH,
    CellClassifier,
    ClassifierKind,
    TrainingCells,
    Validation,
    advise_painting,
    choose,
    fit_classifier,
    validate,
)
from napari_melanoma.slides.tissue_classifier.stain_variants import VariantFeatures
from napari_melanoma.slides.tissue_classifier.start import load_start
from napari_melanoma.slides.tissue_classifier.strokes import PaintedCells, Stroke
from napari_melanoma.slides.tissue_classifier.suggestions import CellNovelty

ROLES: tuple[TissueRole, ...] = get_args(TissueRole)
# Whole names without accents, in English, German, French, Spanish, Italian and Portuguese.
NAMES: dict[TissueRole, str] = {
    "tumor": "(invasive )?(melanom[aeo]?|tumou?re?|tumeur|tumore|malignant)",
    "epidermis": "epiderm(is|e|ide)",
    "background": "background|glass|hintergrund|glas|fond|verre|fondo|vidrio|sfondo|vetro|fundo|vidro",
    "nevus": "n(ae?|e)v(us|o)( cells)?|benign",
    "keratin": "keratin|horny layer|stratum corneum|hornschicht|queratina|cheratina|keratine",
}


def guess_roles(classes: Iterable[str]) -> dict[TissueRole, str]:
    """Return the first class with the name of each role, such as *Epidermis* or *Glas*; without the others."""
    found: dict[TissueRole, str] = {}
    for name in classes:
        plain = "".join(one for one in unicodedata.normalize("NFKD", name) if not unicodedata.combining(one))
        for role in ROLES:
            if re.fullmatch(NAMES[role], plain.strip().lower()):
                found.setdefault(role, name)
    return found


def choose_roles(classes: Sequence[str], selected: Mapping[TissueRole, str]) -> dict[TissueRole, str]:
    """Return the class of each role: the selected one, or else that with its name.

    ``selected``: may be empty for a role, which then has no class. Raises ``InputError`` if there is no such class, or
    if it has two roles.
    """
    roles = {role: name for role, name in {**guess_roles(classes), **selected}.items() if name}
    for role, name in roles.items():
        if name not in classes:
            raise InputError(f"'{name}' is the class of role '{role}', but painted are {', '.join(classes)}.")
    if len({*roles.values()}) < len(roles):
        listed = ", ".join(f"{role} = {name}" for role, name in roles.items())
        raise InputError(f"each class has at most one role, but found {listed}. Select other classes.")
    return roles


DEFAULT_SOURCES = SHIPPED_SOURCES  # from the preferred one
MAX_VARIANTS = 32


class TissueFitOptions(Config):
    """Candidates among which the features and the kind of a tissue classifier are chosen."""

    sources: tuple[str, ...] = Field(
        DEFAULT_SOURCES, min_length=1, description="sources of features, the preferred one first"
    )
    kinds: tuple[ClassifierKind, ...] = Field(
        KINDS, min_length=1, description="kinds of classifiers, the preferred one first"
    )
    start_from: str = Field(
        "", description="model whose strokes and classes are used, too, such as skin-tissue: paint only what it lacks"
    )
    stain_variants: int = Field(
        0,
        ge=0,
        le=MAX_VARIANTS,
        description="other stains in which the classifier also learns the strokes, for slides of other laboratories",
    )
    strength: float = Field(
        STRENGTH,
        ge=1e-5,
        le=1e3,
        description="weight of the strokes against the weight decay of the logistic regression; less for slides of "
        "other laboratories, such as 0.003; by default that of the model of start_from, if any",
    )
    weights: Path | None = Field(None, description="file with the weights of a published encoder")
    device: Device = Field(
        "auto", description="where a published encoder runs; auto: on a GPU that torch finds, or else on the CPU"
    )
    smoothing: float = Field(
        0.0, ge=0, le=MAX_SIGMA, description="width of the Gaussian that smooths the map, in cells; 0: no smoothing"
    )
    min_region_cells: int = Field(
        MIN_REGION_CELLS,
        ge=1,
        description="smaller regions of a class are not outlined; areas count all cells",
    )
    roles: dict[TissueRole, str] = Field(
        default_factory=dict,
        description="classes of tumor, epidermis, background, nevus and keratin, of which depth and lesions are "
        "measured; by default those with such a name, empty for none",
    )
    channels: str = Field(
        "",
        description="three channels of fluorescence slides as red, green and blue, such as DAPI,CD8,PanCK, or with "
        "limits DAPI=200:4000; by default as painted, with limits from all slides together",
    )

    @field_validator("channels")
    @classmethod
    def _check_channels(cls, channels: str) -> str:
        if channels:
            ChannelChoice.from_text(channels)
        return channels


@dataclass(frozen=True)
class PaintedSlideFile:
    """A slide on disk with its strokes.

    ``folder``: its result folder, in which features are stored; without it, they are computed again next time.
    ``classes``: names and colors, in the order of the user. ``pixel_size``: that of the user, if the file states none.
    ``channels``: those of fluorescence that it was painted with; None if unknown.
    """

    path: Path
    strokes: tuple[Stroke, ...]
    folder: Path | None = None
    classes: Mapping[str, Color | None] = field(default_factory=dict)
    pixel_size: PixelSize | None = None
    channels: ChannelChoice | None = None


@dataclass(frozen=True, eq=False)
class TissueClassifier:
    """Predicts the class of each cell of a slide.

    ``source``: name of the source of the features, with its ``source_fingerprint``, the number of ``features`` of a
    cell, ``licence`` and ``mpp``. ``validation``: of the chosen kind; ``candidates``: of all, with the chosen one.
    ``cells``: those that it was fitted on. ``colors``: of the classes, where known. ``roles``: classes of which depth
    and lesions are measured. ``smoothing``: in cells. ``min_region_cells``: smaller regions are not outlined.
    ``slides``: number of painted slides. ``channels``: those of fluorescence that are read as RGB; None for
    brightfield. ``start``: name of the model whose strokes were used, too; empty for none. ``stain_variants``: number
    of other stains that it learned the strokes in.
    """

    source: str
    source_fingerprint: str
    features: int
    licence: str
    mpp: float
    cell_classifier: CellClassifier
    cells: TrainingCells
    validation: Validation
    candidates: tuple[Validation, ...] = ()
    novelty: CellNovelty | None = None
    colors: Mapping[str, Color | None] = field(default_factory=dict)
    roles: Mapping[TissueRole, str] = field(default_factory=dict)
    smoothing: float = 0.0
    min_region_cells: int = MIN_REGION_CELLS
    slides: int = 1
    notes: tuple[str, ...] = ()
    channels: ChannelChoice | None = None
    start: str = ""
    stain_variants: int = 0

    @classmethod
    def fit(cls, source: FeatureSource, cells: TrainingCells, validation: Validation) -> TissueClassifier:
        """Fit the classifier of a validation, with its temperature, on painted cells."""
        return cls(
            source.name,
            source.fingerprint,
            source.length,
            source.licence,
            source.mpp,
            fit_classifier(cells, validation.kind, validation.temperature),
            cells,
            validation,
            (validation,),
            CellNovelty.fit(cells),
            slides=len(np.unique(cells.own.slide)),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.cell_classifier.classes

    def predict(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return probabilities, float32 (cell, class), without smoothing; ``features``: float (cell, feature)."""
        return self.cell_classifier.predict(features)


def fit_tissue_classifier(
    slides: Sequence[PaintedSlideFile],
    options: TissueFitOptions = TissueFitOptions(),  # noqa: B008 - immutable
    run: RunContext = NULL_CONTEXT,
) -> TissueClassifier:
    """Fit a tissue classifier on the strokes of slides.

    Features are computed at the strokes only. Of all sources and kinds of classifiers, the first is chosen that
    predicts strokes left out as well as the best; the same strokes give the same classifier.

    Parameters
    ----------
    slides : sequence of PaintedSlideFile
        Slides with strokes; their order does not matter.
    options : TissueFitOptions
        Candidates to choose from, and smoothing.
    run : RunContext
        Receives progress; checked for cancellation.

    Returns
    -------
    TissueClassifier
        The classifier, with the validation of all candidates.

    Raises
    ------
    InputError
        Fewer than two classes have a stroke on a slide, a slide cannot be read, or it is not of the chosen channels.
    ScaleMissing
        The pixel size of a slide is unknown.
    Cancelled
        The user canceled; computed features are kept.
    """
    start = load_start(options.start_from) if options.start_from else None
    names = sorted({stroke.class_name for slide in slides for stroke in slide.strokes})
    if advice := advise_painting(names if start is None else {*names, *start.cells.classes}):
        raise InputError(f"a tissue classifier needs strokes of at least two classes. {advice}")
    known_roles = options.roles if start is None else {**start.roles, **guess_roles(names), **options.roles}
    roles = choose_roles(names if start is None else [*dict.fromkeys((*names, *start.cells.classes))], known_roles)
    colors, channels = merge_colors(slides), _choose_channels(slides, options.channels)
    if start is not None:
        start.check_channels(channels)
        colors = {**start.colors, **{name: color or start.colors.get(name) for name, color in colors.items()}}
    sources = options.sources if start is None else start.choose_sources(options)
    tables: dict[str, tuple[FeatureSource, TrainingCells]] = {}
    validations, notes = list[Validation](), tuple[str, ...]()
    for number, name in enumerate(sources):
        part = PartContext(run, number, len(sources), name)
        source = open_feature_source(name, options.weights, options.device)
        cells, notes = gather_cells(slides, source, tuple(colors), channels, part)
        variants = [
            gather_cells(slides, VariantFeatures(source, number), tuple(colors), channels, part)[0]
            for number in range(options.stain_variants)
        ]
        cells = replace(cells.add_variants(variants), strength=options.strength)
        if start is not None:
            cells = start.join(cells, source)
            cells = replace(cells, strength=options.strength) if "strength" in options.model_fields_set else cells
        tables[name], validations = (source, cells), [*validations, *validate(cells, options.kinds, name, part)]
    chosen = choose(validations)
    if options.weights is not None and is_published(chosen.source):
        remember_encoder(chosen.source, options.weights)
    return replace(
        TissueClassifier.fit(*tables[chosen.source], chosen),
        candidates=tuple(validations),
        colors=colors,
        roles=roles,
        smoothing=options.smoothing,
        min_region_cells=options.min_region_cells,
        notes=notes,
        channels=channels,
        start="" if start is None else start.name,
        stain_variants=options.stain_variants,
    )


def _choose_channels(slides: Sequence[PaintedSlideFile], text: str) -> ChannelChoice | None:
    """Return the channels of fluorescence with their limits: those of a text, or those that were painted with."""
    painted = [slide.channels for slide in slides if slide.channels is not None]
    choice = ChannelChoice.from_text(text) if text else next(iter(painted), None)
    if choice is None or choice.is_complete:
        return choice
    with ExitStack() as stack:
        return complete_limits(choice, [stack.enter_context(open_slide(one.path, one.pixel_size)) for one in slides])


def gather_cells(
    slides: Sequence[PaintedSlideFile],
    source: FeatureSource,
    classes: Sequence[str],
    channels: ChannelChoice | None = None,
    run: RunContext = NULL_CONTEXT,
) -> tuple[TrainingCells, tuple[str, ...]]:
    """Compute the features of the painted cells of slides; return these cells, and messages about their strokes.

    Cells in a damaged part of a slide are left out. ``channels``: those of fluorescence slides.
    """
    painted, notes = [], list[str]()
    for slide in slides:
        with (
            read_as_rgb(open_slide(slide.path, slide.pixel_size), channels, "the tissue classifier") as opened,
            SlideFeatures.open(opened, source, slide.folder) as stored,
        ):
            painted.append(compute_painted(slide.strokes, stored, run))
            notes += [f"{slide.path.name}: {note}" for note in painted[-1][0].notes]
    cells, damaged = join_painted(painted, classes)
    return cells, (*notes, *damaged)


def compute_painted(
    strokes: Iterable[Stroke], stored: SlideFeatures, run: RunContext
) -> tuple[PaintedCells, NDArray[np.float32]]:
    """Find the painted cells of a slide, and compute their features, float32 (cell, feature); NaN where damaged."""
    painted = PaintedCells.of_slide(strokes, stored.grid)
    stored.compute(stored.grid.blocks_of(painted.cells), run)
    return painted, stored.read(painted.cells)


def join_painted(
    painted: Sequence[tuple[PaintedCells, NDArray[np.float32]]], classes: Sequence[str]
) -> tuple[TrainingCells, tuple[str, ...]]:
    """Join the painted cells of slides without those in a damaged part, which a message counts.

    ``painted``: see ``compute_painted``. ``classes``: see ``TrainingCells.gather``.
    """
    cells = TrainingCells.gather([one for one, _ in painted], [values for _, values in painted], classes)
    readable = np.asarray(np.isfinite(cells.features).all(axis=1))
    damaged = np.count_nonzero(~readable)
    note = f"{damaged} painted cells are in a damaged part of a slide: left out."
    return cells.select(readable), (note,) if damaged else ()


def merge_colors(slides: Iterable[PaintedSlideFile]) -> dict[str, Color | None]:
    """Return the classes of all slides with their colors; the first slide with a color counts."""
    colors: dict[str, Color | None] = {}
    for slide in slides:
        for name, color in slide.classes.items():
            colors[name] = colors.get(name) or color
    return colors
