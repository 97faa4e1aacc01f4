"""Find image features and tissue measures that separate two classes; write tables and pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.config import Config
from napari_melanoma.core.context import BATCH_ERRORS, RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, DataSetError, RunError, SaveError, describe_error
from napari_melanoma.core.files import save_error, write_json
from napari_melanoma.core.paths import ids_to_file_names
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.evaluation.labeled_images import ClassEvaluationOptions, LabeledImages, find_labeled_images
from napari_melanoma.evaluation.pipeline import interval_text
from napari_melanoma.figures.evaluation import plot_bars, save_figure
from napari_melanoma.imaging.stain import MEASURES as STAIN_MEASURES
from napari_melanoma.imaging.stain import measure_stain
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, write_rgb, write_table
from napari_melanoma.metrics.roc_curves import RankedFeature, rank_features
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.slides.options import SlideOptions

if TYPE_CHECKING:
    from matplotlib.axes import Axes


COLUMNS = ("rank", "name", "feature", "auc", "auc_low", "auc_high", "rank_biserial", "p", "q", "higher_in")
ACTIVATED_COLUMNS = ("rank", "name", "feature", "image_id", "domain", "value", "row", "column", "picture")
SIDE = 224  # width of an image in the gallery, in pixels
NOTE = (
    "AUC of the patients' means; the interval is not corrected for multiple testing. q: false discovery rate of "
    "Benjamini and Hochberg over all features. Features were selected on these images: confirm them on other images."
)
OPACITY = 0.65  # of a map over its image, at the maximum of the map
ULCERATION = {
    "ulceration_share": "share of the surface directly over the tumor without epidermis, on the map of a tissue model"
}
TISSUE = "tissue"  # folder of the slide analyses that measure ulceration
SURFACE = "epidermis"
NO_MAP = "there is no tissue map: name a model that segments epidermis and tumor with --tissue-model"
NO_SCALE = "its row has no scale (mpp_x)"
NO_TUMOR = "no surface was found over a tumor"
MEASURES = {**STAIN_MEASURES, **ULCERATION}
DEPTH_FEATURES = ("predicted depth", "spread of the predicted depth")


class BiomarkerOptions(Config):
    """Number of features to keep and to show, images to use, and the tissue model."""

    count: int = Field(15, ge=1, le=500, description="number of features to keep, the strongest first (P3: 15)")
    shown: int = Field(4, ge=1, le=20, description="images per feature that activate it most, each of another patient")
    split: str | None = Field(None, description="use only images of this split, such as 'test'; by default all")
    target: str = Field("", description="column that contains the class; by default that of the model")
    tissue_model: str = Field(
        "",
        description="model that segments epidermis and tumor: also measure the share of ulceration",
    )


@dataclass(frozen=True, eq=False)
class ActivatedImage:
    """An image that activates a feature: the value, and the position (row, column) of the maximum in the image."""

    sample: Sample
    value: float
    position: tuple[int, int]


@dataclass(frozen=True, eq=False)
class BiomarkerFeature:
    """A feature of the network with the images that activate it most."""

    name: str
    marker: RankedFeature
    activated: tuple[ActivatedImage, ...]


@dataclass(frozen=True, eq=False)
class Biomarkers:
    """The features and measures that separate the classes best, strongest first.

    ``measures``: by name. ``not_measured``: the names of the other measures, with the reason why they have no rank.
    ``table``: float64 (image, measure), in the order of ``MEASURES``; NaN where a measure is undefined.
    ``feature_count``: number of features of the network, from which ``features`` were selected.
    """

    features: list[BiomarkerFeature]
    measures: dict[str, RankedFeature]
    not_measured: dict[str, str]
    table: NDArray[np.float64]
    evaluated: LabeledImages
    feature_count: int


@dataclass(frozen=True, eq=False)
class GalleryImage:
    """An image of a gallery, with a map of the activation of a feature or of Grad-CAM.

    ``rgb`` is uint8 (row, column, channel=3), ``heat`` float32 (row, column) in [0, 1] of the same size.
    """

    rgb: NDArray[np.uint8]
    heat: NDArray[np.float32]
    title: str


def write_biomarkers(
    out: Path, biomarkers: Biomarkers, classifier: Classifier, options: BiomarkerOptions, run: RunContext
) -> None:
    """Write tables, JSON and figures."""
    positive = classifier.config.positive
    rows = [
        _row(feature.name, feature.marker, positive) | {"rank": rank}
        for rank, feature in enumerate(biomarkers.features, start=1)
    ]
    write_table(out / "biomarkers.csv", rows, COLUMNS)
    measured = [_row(name, marker, positive) for name, marker in biomarkers.measures.items()]
    write_table(out / "measures.csv", list(_measures(biomarkers)), ("image_id", "domain", "label", *MEASURES))
    write_table(out / "exciting.csv", list(_activated_rows(biomarkers)), ACTIVATED_COLUMNS)
    about: dict[str, Any] = {"features": rows, "not_measured": biomarkers.not_measured}
    about |= {"measures": [{**row, "about": MEASURES[str(row["name"])]} for row in measured]}
    write_json(out / "biomarkers.json", about | _about(biomarkers, classifier, options))
    _draw(out / "figures", biomarkers, classifier, run)


def _row(name: str, marker: RankedFeature, positive: str) -> dict[str, object]:
    auc = marker.auc
    row = {"name": name, "feature": marker.feature_index, "auc": auc.mean, "auc_low": auc.low, "auc_high": auc.high}
    higher_in = positive if auc.mean >= 0.5 else "others"
    return {**row, "rank_biserial": marker.strength, "p": marker.p, "q": marker.q, "higher_in": higher_in}


def _measures(biomarkers: Biomarkers) -> Iterator[dict[str, object]]:
    """Yield the rows of ``measures.csv``."""
    evaluated = biomarkers.evaluated
    for sample, label, values in zip(evaluated.samples, evaluated.labels, biomarkers.table, strict=True):
        cells = {name: "" if np.isnan(value) else float(value) for name, value in zip(MEASURES, values, strict=True)}
        yield {"image_id": sample.image_id, "domain": sample.domain, "label": evaluated.classes[label], **cells}


def _activated_rows(biomarkers: Biomarkers) -> Iterator[dict[str, object]]:
    """Yield the rows of ``exciting.csv``."""
    for rank, feature in enumerate(biomarkers.features, start=1):
        for number, activated in enumerate(feature.activated, start=1):
            row, column = activated.position
            cells = {
                "rank": rank,
                "name": feature.name,
                "feature": feature.marker.feature_index,
                "value": activated.value,
            }
            cells |= {"image_id": activated.sample.image_id, "domain": activated.sample.domain}
            yield {**cells, "row": row, "column": column, "picture": f"figures/{_picture_name(rank, number)}"}


def _picture_name(rank: int, number: int) -> str:
    """Return the file name of a feature's map."""
    return f"biomarker_{rank:02}_{number}.png"


def _about(biomarkers: Biomarkers, classifier: Classifier, options: BiomarkerOptions) -> dict[str, Any]:
    """Return the data, options and provenance for ``biomarkers.json``."""
    evaluated = biomarkers.evaluated
    positive = evaluated.labels == evaluated.classes.index(classifier.config.positive)
    return {
        "model": {"name": classifier.info.name, "fingerprint": classifier.info.fingerprint},
        "statistic": "AUC (Mann-Whitney) of patients",
        "positive": classifier.config.positive,
        "images": len(evaluated.samples),
        "positives": int(positive.sum()),
        "features_looked_at": biomarkers.feature_count,
        "options": options.model_dump(mode="json"),
        "interval": interval_text(evaluated.samples),
        "note": NOTE,
        "provenance": collect_provenance(),
    }


def _draw(folder: Path, biomarkers: Biomarkers, classifier: Classifier, run: RunContext) -> None:
    """Draw the gallery and the ranking, and write each map of the gallery as a file."""
    rows = []
    for rank, feature in enumerate(run.track(biomarkers.features, "Drawing"), start=1):
        shown = _gallery_images(feature, classifier)
        for number, picture in enumerate(shown, start=1):
            write_rgb(folder / _picture_name(rank, number), overlay_heat(picture))
        rows.append(GalleryRow(f"{rank}. {feature.name}: AUC {feature.marker.auc}, q {feature.marker.q:.2g}", shown))
    if rows:
        draw_gallery(rows, folder / "gallery.png")
    bars = {feature.name: feature.marker.auc for feature in biomarkers.features}
    bars |= {name: marker.auc for name, marker in biomarkers.measures.items()}
    if bars:
        plot_bars(bars, "AUC of patients, 95 % interval", folder / "ranking.png", middle=0.5)


def _gallery_images(feature: BiomarkerFeature, classifier: Classifier) -> list[GalleryImage]:
    """Return small versions of the images that activate a feature most."""
    from PIL import Image

    pictures = []
    for activated in feature.activated:
        rgb, mask = read_picture(classifier, activated.sample)
        heat = activation_map(classifier, rgb, mask, feature.marker.feature_index)
        size = (SIDE, max(1, round(SIDE * rgb.shape[0] / rgb.shape[1])))
        small = np.asarray(Image.fromarray(rgb).resize(size))
        coarse = np.asarray(Image.fromarray(heat.astype(np.float32)).resize(size), np.float32)
        pictures.append(GalleryImage(small, coarse, activated.sample.image_id))
    return pictures


def check_tissue_model(name: str) -> str | None:
    """Return the name of a tissue model after checking its classes; None if no model was named."""
    if not name:
        return None
    config = find_bundle(name).config
    if config.task != "segmentation" or not config.is_slide_model or SURFACE not in map(str.lower, config.role_names):
        raise BundleError(
            f"'{config.name}' segments {', '.join(config.classes)}: the share of ulceration needs a slide model that "
            f"segments {SURFACE} and tumor, such as a tissue classifier that was painted with both classes."
        )
    return name


def measure_ulceration(
    evaluated: LabeledImages, model: str | None, out: Path, run: RunContext
) -> tuple[NDArray[np.float64], str]:
    """Measure the share of the tumor surface without epidermis in each image.

    ``model``: name of a tissue model; None if none was named, so that nothing is measured. Returns float64 (image,) in
    [0, 1], NaN where the share is undefined; and why the first such image has none, empty if all have one.
    """
    shares = np.full(len(evaluated.samples), np.nan)
    if model is None:
        return shares, NO_MAP
    first_reason = ""
    names = ids_to_file_names(f"{sample.domain}-{sample.image_id}" for sample in evaluated.samples)
    for index, sample in enumerate(run.track(evaluated.samples, "Segmenting tissue")):
        scale = evaluated.rows.get(sample.key, {}).get("mpp_x")
        shares[index], reason = _ulceration_share(
            sample, read_number(scale, "mpp_x"), model, out / TISSUE / names[f"{sample.domain}-{sample.image_id}"], run
        )
        first_reason = first_reason or (reason and f"{sample.image_id}: {reason}")
    return shares, first_reason


def _ulceration_share(sample: Sample, mpp: float, model: str, folder: Path, run: RunContext) -> tuple[float, str]:
    """Return the share of ulceration in one image and "", or NaN and the reason why there is none."""
    from napari_melanoma.slides.analysis import analyze_slide

    run.check()
    if np.isnan(mpp):
        return np.nan, NO_SCALE
    try:
        options = SlideOptions.parse({"model": model, "mpp": mpp}, "the scale in its row (mpp_x)")
    except ConfigError as error:
        return np.nan, str(error)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise save_error(folder, error) from error
    try:
        content = analyze_slide(sample.image, folder, options, RunContext()).content
    except (*BATCH_ERRORS, SaveError, RunError):
        raise
    except Exception as error:  # noqa: BLE001 - concerns this image only; errors that concern all were raised above
        return np.nan, describe_error(error)
    share = (content.get("depth") or {}).get("ulcer_share")
    return (np.nan, NO_TUMOR) if share is None else (float(share), "")


def find_biomarkers(
    classifier: Classifier, datasets: Sequence[Path], out: Path, options: BiomarkerOptions, *, run: RunContext
) -> Biomarkers:
    """Find the features and measures of images that separate the classes, and write the results."""
    tissue_model = check_tissue_model(options.tissue_model)
    evaluation_options = ClassEvaluationOptions(split=options.split, target=options.target)
    evaluated = find_labeled_images(datasets, classifier.info, evaluation_options)
    embeddings, table = _embed_pictures(classifier, evaluated, run)
    positive = evaluated.labels == evaluated.classes.index(classifier.config.positive)
    groups = np.array([str(sample.group) for sample in evaluated.samples])
    try:
        markers = rank_features(embeddings, positive, groups, options.count)
    except ValueError as error:
        raise DataSetError(f"{error} Name another split or data set.") from error
    depth_features = 0 if classifier.config.depth is None else _count_depth_features(classifier)
    first_depth = embeddings.shape[1] - depth_features
    features = [
        BiomarkerFeature(
            _feature_name(marker.feature_index, first_depth),
            marker,
            _most_activated(classifier, evaluated, embeddings, marker.feature_index, options),
        )
        for marker in run.track(markers, "Finding images for each feature")
    ]
    shares, reason = measure_ulceration(evaluated, tissue_model, out, run)
    table = np.column_stack([table, shares])
    measures, not_measured = rank_measures(table, positive, groups)
    if "ulceration_share" in not_measured and reason:
        not_measured["ulceration_share"] += f"; the first without it: {reason}" if tissue_model else f"; {reason}"
    result = Biomarkers(features, measures, not_measured, table, evaluated, embeddings.shape[1])
    write_biomarkers(out, result, classifier, options, run)
    return result


def rank_measures(
    table: NDArray[np.float64], positive: NDArray[np.bool_], groups: NDArray[np.str_]
) -> tuple[dict[str, RankedFeature], dict[str, str]]:
    """Rank the measures by how well they separate the classes, each on the images in which it is defined.

    ``table``: float64 (image, measure), in the order of ``MEASURES``; NaN where a measure is undefined. ``positive``:
    bool (image,). ``groups``: str (image,), the patient or lesion. Returns the measures by name, the strongest first,
    with ``q`` corrected for the number of measures; and the names of the others with the reason why they have no rank.
    """
    from scipy.stats import false_discovery_control

    markers_by_name: dict[str, RankedFeature] = {}
    not_ranked: dict[str, str] = {}
    for column, name in enumerate(MEASURES):
        present = np.isfinite(table[:, column])
        try:
            markers = rank_features(table[present, column : column + 1], positive[present], groups[present], 1)
        except ValueError:
            not_ranked[name] = f"measured in {int(present.sum())} of {len(present)} images: too few of a class"
            continue
        if markers:
            markers_by_name[name] = markers[0]._replace(feature_index=column)
        else:
            not_ranked[name] = "it is the same in all images"
    corrected = false_discovery_control([one.p for one in markers_by_name.values()])
    ranked = {
        name: marker._replace(q=float(q)) for (name, marker), q in zip(markers_by_name.items(), corrected, strict=True)
    }
    return dict(sorted(ranked.items(), key=lambda pair: -abs(pair[1].strength))), not_ranked


def activation_map(
    classifier: Classifier, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None, index: int
) -> NDArray:
    """Map the activation of a feature of the embedding in an image.

    ``index``: of the feature. ``rgb``: uint8 (row, column, channel=3). ``mask``: bool (row, column), if the model uses
    the region around a lesion. Returns float32 (row, column) of the image's size, scaled to [0, 1].
    """
    from napari_melanoma.classification.explanation import place_in_photograph, upsample_map

    view = classifier.make_view(rgb, mask)
    coarse = classifier.run_encoder([view.image])[0].deepest_maps[0, index]
    wide = upsample_map(coarse - coarse.min(), view.image.shape[0], classifier.view_offset)
    strongest = float(wide.max())
    return place_in_photograph(wide / strongest if strongest > 0 else wide, view.box, (rgb.shape[0], rgb.shape[1]))


def read_picture(classifier: Classifier, sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """Read an image, uint8 (row, column, channel=3), and its mask, bool (row, column), if the model uses it."""
    needs = classifier.config.view.region == "roi" and sample.mask is not None
    return read_photograph(sample.image).rgb, read_mask(sample.mask) if needs and sample.mask else None


def _embed_pictures(
    classifier: Classifier, evaluated: LabeledImages, run: RunContext
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the embeddings, float64 (image, feature), and the stain measures, float64 (image, measure)."""
    embeddings, measured = [], []
    for sample in run.track(evaluated.samples, "Reading images"):
        rgb, mask = read_picture(classifier, sample)
        embeddings.append(classifier.run_encoder([classifier.crop_image(rgb, mask)])[0].embedding)
        row = evaluated.rows.get(sample.key, {})
        mpp = read_number(row.get("mpp_x"), "mpp_x")
        measured.append(list(measure_stain(rgb, None if np.isnan(mpp) else mpp).values()))
    return np.array(embeddings, np.float64), np.array(measured, np.float64)


def _most_activated(
    classifier: Classifier,
    evaluated: LabeledImages,
    embeddings: NDArray[np.float64],
    feature: int,
    options: BiomarkerOptions,
) -> tuple[ActivatedImage, ...]:
    """Return the images that activate a feature most, one per patient."""
    activated: dict[str, ActivatedImage] = {}
    for index in np.argsort(-embeddings[:, feature], kind="stable"):
        sample = evaluated.samples[index]
        if str(sample.group) in activated:
            continue
        heat = activation_map(classifier, *read_picture(classifier, sample), feature)
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        activated[str(sample.group)] = ActivatedImage(
            sample, float(embeddings[index, feature]), (int(row), int(column))
        )
        if len(activated) == options.shown:
            break
    return tuple(activated.values())


def _count_depth_features(classifier: Classifier) -> int:
    """Count the features that encode the predicted depth; they are the last ones of the embedding."""
    side = classifier.info.config.input_size
    depth = classifier.run_encoder([np.zeros((side, side, 3), np.uint8)])[0].depth
    return 0 if depth is None else len(depth)


def _feature_name(index: int, first_depth: int) -> str:
    """Return the name of a feature for users; ``first_depth``: index of the first one that encodes the depth."""
    return f"feature {index}" if index < first_depth else DEPTH_FEATURES[index - first_depth]


@dataclass(frozen=True, eq=False)
class GalleryRow:
    """A row of the gallery: its title, and images with their maps."""

    title: str
    images: Sequence[GalleryImage]


def draw_gallery(rows: Sequence[GalleryRow], path: Path) -> None:
    """Draw rows of images, each image first without and then with its map."""
    from matplotlib.figure import Figure

    columns = 2 * max(len(row.images) for row in rows)
    figure = Figure(figsize=(1.5 * columns, 1.85 * len(rows)), layout="constrained")
    axes_rows = figure.subplots(len(rows), columns, squeeze=False)
    for axes_row, row in zip(axes_rows, rows, strict=True):
        for axes in axes_row:
            axes.set_axis_off()
        axes_row[0].set_title(row.title, fontsize=8, loc="left")
        for index, shown in enumerate(row.images):
            _draw_gallery(axes_row[2 * index], axes_row[2 * index + 1], shown)
    save_figure(figure, path, dpi=110)


def overlay_heat(shown: GalleryImage) -> NDArray[np.uint8]:
    """Overlay an image with its map: uint8 (row, column, channel=3), dark at the minimum, warm at the maximum."""
    from matplotlib import colormaps

    color = 255 * colormaps["inferno"](np.clip(shown.heat, 0, 1))[..., :3]
    share = (0.25 + (OPACITY - 0.25) * shown.heat)[..., None]
    return np.asarray((1 - share) * shown.rgb + share * color).round().astype(np.uint8)


def _draw_gallery(left: Axes, right: Axes, shown: GalleryImage) -> None:
    """Draw an image, and beside it the image with the map."""
    left.imshow(shown.rgb)
    right.imshow(overlay_heat(shown))
    left.text(
        0, 1.0, shown.title, fontsize=5.5, va="top", transform=left.transAxes, color="white", backgroundcolor="#0008"
    )
