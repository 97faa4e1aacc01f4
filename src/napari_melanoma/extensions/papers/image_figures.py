"""Figures of single photographs in a reproduction: augmentations, stages from photograph to label, Grad-CAM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.core.config import read_toml
from napari_melanoma.data.dataset import Sample, read_datasets
from napari_melanoma.data.splits import sample_by_name
from napari_melanoma.evaluation.biomarkers import GalleryImage, GalleryRow, draw_gallery, read_picture
from napari_melanoma.extensions.papers.kinds import HALF, mask_or_everything, segment_and_refine
from napari_melanoma.extensions.papers.paper_rows import RowResult, choose_pictured, describe_conditions
from napari_melanoma.extensions.papers.planning import ReproductionContext
from napari_melanoma.extensions.papers.split import TEST, TRAIN, UNTOUCHED, part_in_fold, read_tables
from napari_melanoma.figures.evaluation import save_figure
from napari_melanoma.imaging.masks import draw_overlay
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.recipe import TrainRecipe


@dataclass(frozen=True)
class ReportPicture:
    """A PNG with its title and a note."""

    title: str
    path: Path
    about: str = ""


def draw_grid(
    rows: Sequence[tuple[str, Mapping[str, NDArray[np.uint8]]]], path: Path, *, title: str = "", headings: bool = False
) -> None:
    """Draw pictures in rows with their titles; the pictures of a column have the same name.

    ``rows``: title of a row, and name to uint8 (row, column, channel=3). ``headings``: whether the names are drawn.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for _, pictures in rows for name in pictures))
    figure = Figure(figsize=(1.5 * len(names) + 2.2, 1.5 * len(rows) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=9)
    grid = figure.subplots(len(rows), len(names), squeeze=False)
    for line, (label, pictures) in zip(grid, rows, strict=True):
        for axes, name in zip(line, names, strict=True):
            axes.set_axis_off()
            axes.set_anchor("N")  # titles of images of different shape at one height
            if name in pictures:
                axes.imshow(pictures[name])
        line[0].text(-0.05, 0.5, label, transform=line[0].transAxes, ha="right", va="center", fontsize=7)
    for axes, name in zip(grid[0], names if headings else (), strict=False):
        axes.set_title(name, fontsize=8)
    save_figure(figure, path)


AUGMENTED, PARTNERS, AUGMENTED_PX = 3, 3, 224  # images shown, images that are only mixed into them, side in pixels
AUGMENTATIONS = "Training images of the row {}, with the outline of the mask; each augmentation with probability 1."
GEOMETRY = "rotation, flip, zoom"


def draw_augmentations(context: ReproductionContext) -> list[ReportPicture]:
    """Draw each augmentation of the segmentation row that the paper names on a few training images."""
    from napari_melanoma.training.augmentation import preview_augmentation

    name = context.paper.file.augmented
    if name is None or not context.folder.row(name).recipe.is_file():
        return []
    row = context.paper.rows[name]
    assert row.file.train is not None
    training = [one for one in read_datasets(context.data[row.file.train].tables) if one.split == TRAIN and one.mask]
    images, masks = _squares(sample_by_name(training, AUGMENTED + PARTNERS))
    columns = {"image": _outlined(images[:AUGMENTED], masks)}
    for title, config in _single_augmentations(read_toml(context.folder.row(name).recipe, TrainRecipe).augmentation):
        columns[title] = _outlined(*preview_augmentation(config, images, masks, AUGMENTED))
    path = context.folder.figures / f"augmentations-{name}.png"
    rows = [dict(zip(columns, pictures, strict=True)) for pictures in zip(*columns.values(), strict=True)]
    draw_grid([("", row) for row in rows], path, headings=True)
    return [ReportPicture("Augmentations", path, AUGMENTATIONS.format(row.file.title))]


def _single_augmentations(config: AugmentationConfig) -> Iterator[tuple[str, AugmentationConfig]]:
    """Yield title and configuration of the geometric augmentations together, and of each other one alone."""
    probabilities = [name for name in AugmentationConfig.model_fields if name.endswith("_probability")]
    plain = config.model_copy(update=dict.fromkeys(probabilities, 0.0))
    yield GEOMETRY, plain
    still = AugmentationConfig(scale=(1, 1), aspect=1, shift=0, rotation=0, flip=False)
    unmoved = plain.model_copy(update={name: getattr(still, name) for name in MOVEMENTS})
    for name in probabilities:
        if getattr(config, name) > 0:
            yield name.removesuffix("_probability").replace("_", " "), unmoved.model_copy(update={name: 1.0})


MOVEMENTS = ("scale", "aspect", "shift", "rotation", "flip", "vertical_flip")


def _squares(samples: Sequence[Sample]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read images, uint8 (image, side, side, channel), and masks, uint8 (image, side, side), resized to squares."""
    from PIL import Image

    size = (AUGMENTED_PX, AUGMENTED_PX)
    images, masks = [], []
    for sample in samples:
        assert sample.mask is not None
        images.append(np.asarray(Image.fromarray(read_photograph(sample.image).rgb).resize(size)))
        masks.append(np.asarray(Image.fromarray(read_mask(sample.mask)).resize(size)).astype(np.uint8) * 255)
    return np.stack(images), np.stack(masks)


def _outlined(images: NDArray[np.uint8], masks: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Draw the outline of its mask on each image; there may be more masks than images."""
    pairs = zip(images, masks[: len(images)], strict=True)
    return [draw_overlay(np.ascontiguousarray(rgb), mask > 127, 2) for rgb, mask in pairs]


STAGES = (
    "Test images of the first fold: neither network was trained on these patients. The probability is as trained, and "
    "the true class is below it."
)
STAGE_PX = 240  # longer side of an image


def _stages(sample: Sample, segmenter: Segmenter, classifier: Classifier) -> dict[str, NDArray[np.uint8]]:
    """Return the picture of each stage from photograph to region of interest, by title."""
    rgb = read_photograph(sample.image).rgb
    drawn, refined = segment_and_refine(segmenter, rgb)
    masks = {"true mask": read_mask(sample.mask)} if sample.mask else {}
    masks |= {"predicted mask": drawn, "refined mask": refined}
    view = classifier.crop_image(rgb, mask_or_everything(refined, rgb)[0])
    return {
        "photograph": _shrink(rgb),
        **{title: _shrink(np.stack([mask.astype(np.uint8) * 255] * 3, axis=2)) for title, mask in masks.items()},
        "region of interest": _shrink(view),
    }


def draw_stages(context: ReproductionContext, results: Sequence[RowResult]) -> Iterator[ReportPicture]:
    """Draw the stages of each row whose masks are predicted by the network of another row, for a few test images."""
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.lesion.segmentation import Segmenter

    for item in results:
        file = item.row.file
        bundles = [context.folder.row(name or "").fold(1).run.bundle for name in (file.masks_of, file.model_of)]
        if file.masks_of is None or not all(bundle.is_dir() for bundle in bundles):
            continue
        of_masks, of_classes = map(read_bundle, bundles)
        segmenter, classifier = Segmenter.load(of_masks), Classifier.load(of_classes)
        predictions = {(one["domain"], one["image_id"]): one for one in item.images}
        tables = context.cross_validated[file.evaluated].tables
        parts = {key: part_in_fold(row, 1) for key, row in read_tables(tables).items()}
        tested = [one for one in read_datasets(tables) if one.key in predictions and parts[one.key] == TEST]
        chosen = choose_pictured(tested, {key: one["label"] for key, one in predictions.items()})
        shown = [one for one in tested if one.full_name in chosen]
        labels = [_label(predictions[one.key], context.paper.file.target) for one in shown]
        path = context.folder.figures / f"stages-{item.row.name}.png"
        rows = zip(labels, [_stages(one, segmenter, classifier) for one in shown], strict=True)
        draw_grid(list(rows), path, headings=True)
        about = f"{STAGES} {describe_conditions(context, [item])}"
        yield ReportPicture(f"From photograph to label: {item.title}", path, about)


def _label(prediction: dict[str, str], target: str) -> str:
    """Describe a prediction and the truth; ``prediction``: a row of ``per_image.csv``."""
    probability = float(prediction["as_trained"])
    names = {True: target, False: f"no {target}"}
    return f"{names[probability >= HALF]}\n({probability:.2f})\ntrue: {names[prediction['label'] == '1']}"


def _shrink(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a picture for a figure, without interpolation."""
    step = max(1, -(-max(picture.shape[:2]) // STAGE_PX))
    return picture[::step, ::step]


GRAD_CAM = "Each image, and Grad-CAM for the class {} of the network of fold 1, which was not trained on these images."
EXPLAINED_PX = 224  # side of an image


def draw_explanations(context: ReproductionContext, results: Sequence[RowResult]) -> Iterator[ReportPicture]:
    """Draw Grad-CAM for the row that the paper names: its network of the first fold on a few images of each class."""
    from napari_melanoma.classification.classifier import Classifier, LesionInput
    from napari_melanoma.classification.explanation import explain

    item = next((one for one in results if one.row.name == context.paper.file.explained), None)
    bundle = context.folder.row(item.row.name).fold(1).run.bundle if item else None
    if item is None or bundle is None or not bundle.is_dir():
        return
    classifier, target = Classifier.load(read_bundle(bundle)), context.paper.target_of(item.row)
    tables = context.cross_validated[item.row.file.evaluated].tables
    table = read_tables(tables)
    probabilities = {(one["domain"], one["image_id"]): float(one["probability"]) for one in item.images}
    predicted = [one for one in read_datasets(tables) if one.key in probabilities]
    candidates = [one for one in predicted if one.split == UNTOUCHED]
    candidates = candidates or [one for one in predicted if part_in_fold(table[one.key], 1) == TEST]
    chosen = choose_pictured(candidates, {key: row.get(target, "") for key, row in table.items()})
    lines: dict[str, list[GalleryImage]] = {"1": [], "0": []}
    for sample in (one for one in candidates if one.full_name in chosen):
        rgb, mask = read_picture(classifier, sample)
        heat = explain(classifier, LesionInput(rgb, mask, table[sample.key]), "grad_cam")
        shrink = max(1, max(heat.shape) // EXPLAINED_PX)
        title = f"{sample.image_id}: {probabilities[sample.key]:.2f}"
        shown_image = GalleryImage(rgb[::shrink, ::shrink], heat[::shrink, ::shrink], title)
        lines[table[sample.key].get(target, "")].append(shown_image)
    shown = [GalleryRow(f"{target} {label}", images) for label, images in lines.items() if images]
    if shown:
        path = context.folder.figures / "grad-cam.png"
        draw_gallery(shown, path)
        about = f"{GRAD_CAM.format(classifier.config.positive)} {describe_conditions(context, [item])}"
        yield ReportPicture(f"Grad-CAM: {item.title}", path, about)
