"""Data set of tiles, on which a network is trained and compared with the painted classifier.

On unpainted cells the true class is unknown. But where the classifier of all strokes is certain, a network that
predicts another class has a different map. Strokes that were held back do not show it: both models were made without
them there, but the network that is used later has still not seen them, while the painted classifier has.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import NULL_CONTEXT, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import atomic_folder, write_json, write_text
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.prediction_config import TileConfig
from napari_melanoma.data.dataset import assemble_folder, write_dataset_table
from napari_melanoma.data.table_schema import TEST, TRAIN
from napari_melanoma.io.results import write_labels, write_rgb, write_table
from napari_melanoma.metrics.overlap import UNLABELED_PIXEL
from napari_melanoma.models.bundle import CARD, CONFIG, SLIDE, WEIGHTS, BundleConfig, read_arrays
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tile_sets import MODALITY, TARGET, TileSet, write_tile_set
from napari_melanoma.slides.tissue_classifier.cells import (
    BLOCK_CELLS,
    MARGIN_CELLS,
    SIDE_CELLS,
    TILE_CELLS,
    CellGrid,
    list_cells,
    place_tiles,
    read_tile,
    tile_px,
)
from napari_melanoma.slides.tissue_classifier.classifier import (
    PaintedSlideFile,
    TissueClassifier,
    TissueFitOptions,
    compute_painted,
    fit_tissue_classifier,
    gather_cells,
)
from napari_melanoma.slides.tissue_classifier.feature_sources import (
    CONTEXTS,
    IMAGENET,
    IMAGENET_BUNDLE,
    open_feature_source,
)
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.fitting import LinearClassifier, fit_classifier
from napari_melanoma.slides.tissue_classifier.strokes import PaintedCells, Stroke

ORIGIN = "source.json"  # what the data set was made of

UNPAINTED, UNPAINTED_TABLE = "unpainted", "unpainted.csv"  # folder of the tiles, and table of their cells
TILES = 48  # of all slides: 3,000 cells, whose features take about 15 s if they are not known
SEED = 0


def write_unpainted_tiles(
    slides: Sequence[PaintedSlideFile], classifier: TissueClassifier, folder: Path, run: RunContext
) -> None:
    """Write tiles of slides with all their strokes, and the predictions of a classifier for their unpainted cells.

    Writes ``unpainted/*.png`` and ``unpainted.csv`` in ``folder``. Slides are named by their fingerprints, since names
    of files may identify patients.
    """
    (folder / UNPAINTED).mkdir(exist_ok=True)
    source, rows = open_feature_source(classifier.source), list[dict[str, object]]()
    for number, slide in enumerate(slides, start=1):
        with (
            open_slide(slide.path, slide.pixel_size) as opened,
            SlideFeatures.open(opened, source, slide.folder) as features,
        ):
            painted = PaintedCells.of_slide(slide.strokes, features.grid).cells
            corners = choose_tiles(features.tissue_blocks, -(-TILES // len(slides)))
            for tile, corner in run.track(list(enumerate(corners, start=1)), "Cutting tiles between strokes"):
                path = folder / UNPAINTED / f"slide-{number:02}-{tile:02}.png"
                rows += _write_tile(path, corner, features, painted, classifier, run)
    write_table(folder / UNPAINTED_TABLE, rows)


def choose_tiles(blocks: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """Choose tiles at random in blocks of cells (block, 2); return the first cell of each, int32 (tile, 2)."""
    parts = BLOCK_CELLS // TILE_CELLS
    tiles = (parts * blocks[:, None] + list_cells(Box(0, 0, parts, parts))).reshape(-1, 2)
    return (TILE_CELLS * np.random.default_rng(SEED).permutation(tiles)[:count]).astype(np.int32)


def _write_tile(
    path: Path,
    corner: NDArray[np.int32],
    features: SlideFeatures,
    painted: NDArray[np.int32],
    classifier: TissueClassifier,
    run: RunContext,
) -> Iterator[dict[str, object]]:
    """Write a tile, and yield a row for each of its cells with features that is not painted."""
    grid, (top, left) = features.grid, corner.tolist()
    cells = list_cells(Box(top, left, TILE_CELLS, TILE_CELLS))
    is_painted = (cells[:, None] == painted).all(axis=2).any(axis=1)
    cells = cells[grid.contains(cells) & ~is_painted]
    features.compute(grid.blocks_of(cells), run)
    values = features.read(cells)
    is_known = np.isfinite(values).all(axis=1)
    pixels = read_tile(features.slide, grid, corner)
    if pixels is None or not is_known.any():
        return
    write_rgb(path, pixels)
    cells, probability = cells[is_known], classifier.predict(values[is_known])
    centers = grid.center_of(cells).round().astype(int).tolist()
    for cell, center, one in zip((cells - corner).tolist(), centers, probability, strict=True):
        yield {
            "image_id": path.stem,
            "fingerprint": features.slide.info.fingerprint,
            "row": cell[0],
            "column": cell[1],
            "center_row_px": center[0],
            "center_column_px": center[1],
            "painted": classifier.classes[int(one.argmax())],
            "probability": float(one.max()),
        }


HELD_BACK_SHARE = 0.4  # of the slides, or of the strokes of each class
HELD_BACK, START = "held_back.csv", "start"  # table of the held-back cells; bundle with the initial weights
ARCHITECTURE = "cell_network"
HeldBackBy = Literal["slides", "strokes"]
StrokeKey = tuple[int, str]  # number of the slide, and id of the stroke, which those of other slides may share


@dataclass(frozen=True)
class PaintedSplit:
    """The strokes of slides, divided; each part lists all slides, some of them without strokes.

    ``by``: whether whole slides or whole strokes are held back.
    """

    training: tuple[PaintedSlideFile, ...]
    held_back: tuple[PaintedSlideFile, ...]
    by: HeldBackBy

    @property
    def slides(self) -> tuple[PaintedSlideFile, ...]:
        """The slides with all strokes."""
        pairs = zip(self.training, self.held_back, strict=True)
        return tuple(replace(one, strokes=(*one.strokes, *other.strokes)) for one, other in pairs)


def split_strokes(slides: Sequence[PaintedSlideFile]) -> PaintedSplit:
    """Hold back two fifths of the slides or, if a class would be missing without them, of the strokes of each class.

    The choice depends on the strokes only. Raises ``InputError`` if fewer than two classes could be compared.
    """
    ordered = sorted(enumerate(slides), key=lambda pair: (len(pair[1].strokes), pair[1].path.name))
    chosen = _choose_slides([slide for _, slide in ordered])
    if chosen:
        numbers = [number for number, slide in ordered if any(slide is one for one in chosen)]
        of_slides = {(number, stroke.id) for number in numbers for stroke in slides[number].strokes}
        return _split(slides, of_slides, "slides")
    by_class: dict[str, list[StrokeKey]] = {}
    for number, slide in ordered:
        for stroke in slide.strokes:
            by_class.setdefault(stroke.class_name, []).append((number, stroke.id))
    counts = {name: round(HELD_BACK_SHARE * len(keys)) or int(len(keys) > 1) for name, keys in by_class.items()}
    if sum(count > 0 for count in counts.values()) < 2:
        painted = ", ".join(f"{len(keys)} of '{name}'" for name, keys in by_class.items()) or "none"
        raise InputError(
            "a network is compared with the painted classifier on strokes that are held back, which takes at least two "
            f"strokes of each of two classes; found {painted}. Paint more strokes."
        )
    keys = {one for name, own in by_class.items() for one in sorted(own, key=_hash_key)[: counts[name]]}
    return _split(slides, keys, "strokes")


def _choose_slides(slides: Sequence[PaintedSlideFile]) -> list[PaintedSlideFile]:
    """Choose slides to hold back, those with the fewest strokes first, so that all classes remain in the others."""
    chosen: list[PaintedSlideFile] = []
    painted = [slide for slide in slides if slide.strokes]
    classes = {stroke.class_name for slide in painted for stroke in slide.strokes}
    for slide in painted:
        others = [one for one in painted if one is not slide and one not in chosen]
        is_complete = {stroke.class_name for one in others for stroke in one.strokes} == classes
        if is_complete and len(chosen) < max(1, round(HELD_BACK_SHARE * len(painted))):
            chosen.append(slide)
    return chosen if len({stroke.class_name for slide in chosen for stroke in slide.strokes}) > 1 else []


def _split(slides: Sequence[PaintedSlideFile], held_back: set[StrokeKey], by: HeldBackBy) -> PaintedSplit:
    parts = [
        tuple(
            replace(
                slide,
                strokes=tuple(one for one in slide.strokes if ((number, one.id) in held_back) == is_held_back),
            )
            for number, slide in enumerate(slides)
        )
        for is_held_back in (False, True)
    ]
    return PaintedSplit(parts[0], parts[1], by)


def _hash_key(key: StrokeKey) -> str:
    return _hash(key[1])


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digest_strokes(slides: Sequence[PaintedSlideFile]) -> str:
    """Hash the names, scales and strokes of slides, in any order."""
    texts = (
        f"{slide.path.name} {slide.pixel_size} {sorted(repr(replace(stroke, id='')) for stroke in slide.strokes)}"
        for slide in slides
    )
    return hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()


def check_strokes(folder: Path, slides: Sequence[PaintedSlideFile]) -> None:
    """Raise if a data set was made of other slides or strokes; one of an earlier version does not state its own."""
    stored = read_object_or_empty(folder / ORIGIN).get("strokes")
    if stored is not None and stored != digest_strokes(slides):
        raise InputError(
            f"{folder} was made of other slides or of other strokes. Choose another output folder for these, or remove "
            "that folder."
        )


def make_stroke_data_set(
    split: PaintedSplit,
    out: Path,
    options: TissueFitOptions = TissueFitOptions(),  # noqa: B008 - immutable
    run: RunContext = NULL_CONTEXT,
) -> None:
    """Make a data set of tiles around the painted cells of slides, in ``out``, which must not exist.

    Pixels of other cells have no label. ``held_back.csv`` lists the cells of the strokes that are held back, with the
    predictions of a tissue classifier that was fitted on the other strokes; ``unpainted.csv`` lists cells between the
    strokes, see ``write_unpainted_tiles``; ``start`` is a bundle of a network with the encoder that ships and a
    classifier fitted on these strokes. Raises ``InputError`` for fluorescence.

    ``options``: the candidates of the painted classifier.
    """
    painted = [slide for slide in split.training if slide.strokes]
    if any(slide.channels is not None for slide in painted):
        raise InputError(
            "a network is trained on brightfield slides only, found fluorescence. Use the painted classifier: Save as "
            "model, or napari-melanoma tissue fit."
        )
    classifier = fit_tissue_classifier(painted, options, run)
    cells, _ = gather_cells(painted, open_feature_source(IMAGENET), classifier.classes, run=run)
    linear = fit_classifier(cells, "logistic")
    assert isinstance(linear, LinearClassifier)
    with assemble_folder(out) as folder:
        rows, held_back = [], list[dict[str, object]]()
        for number in range(len(split.training)):
            tiles = _SlideTiles(split.training[number], split.held_back[number], classifier, f"slide-{number + 1:02}")
            for part in tiles.write(folder, run):
                rows += [part.row]
                held_back += part.held_back
        undivided = "slide" if split.by == "slides" else "lesion_id"  # what is never divided: a slide, or a stroke
        write_dataset_table(folder / "dataset.csv", [{**row, "patient_id": row[undivided]} for row in rows])
        write_table(folder / HELD_BACK, held_back)
        write_unpainted_tiles(split.slides, _fit_all_strokes(split, classifier, options, run), folder, run)
        tile = TileConfig(mpp=classifier.mpp, side_px=tile_px(classifier.mpp))
        write_tile_set(folder, TileSet(tile=tile, labels=linear.classes, classes=linear.classes))
        facts = {"source": "strokes", "held_back": split.by, "painted_classifier": classifier.validation.source}
        facts["strokes"] = digest_strokes(split.slides)
        write_json(folder / ORIGIN, {**facts, "kind": classifier.cell_classifier.kind})
        _write_start(folder / START, linear, tile)


def _fit_all_strokes(
    split: PaintedSplit, classifier: TissueClassifier, options: TissueFitOptions, run: RunContext
) -> TissueClassifier:
    """Fit a classifier of the same features and kind on all strokes, also those that are held back.

    It is the one that the user sees, and that the network would replace.
    """
    source = open_feature_source(classifier.source, options.weights)
    painted = [slide for slide in split.slides if slide.strokes]
    cells, _ = gather_cells(painted, source, classifier.classes, run=run)
    return TissueClassifier.fit(source, cells, classifier.validation)


@dataclass(frozen=True)
class _WrittenTile:
    """The row of a tile in ``dataset.csv``, and those of its cells in ``held_back.csv``."""

    row: dict[str, str]
    held_back: list[dict[str, object]]


@dataclass(frozen=True)
class _SlideTiles:
    """Writes the tiles of one slide; ``name``: prefix of their names, without that of the file."""

    training: PaintedSlideFile
    held_back: PaintedSlideFile
    classifier: TissueClassifier
    name: str

    def write(self, folder: Path, run: RunContext) -> Iterator[_WrittenTile]:
        """Write the tiles of all strokes."""
        source = open_feature_source(self.classifier.source)
        with (
            open_slide(self.training.path, self.training.pixel_size) as slide,
            SlideFeatures.open(slide, source, self.training.folder) as stored,
        ):
            painted = PaintedCells.of_slide(self.training.strokes, stored.grid)
            known = {tuple(cell) for cell in painted.cells.tolist()}
            for number, stroke in run.track(list(enumerate(painted.strokes)), "Cutting tiles of strokes"):
                cells = painted.cells[painted.stroke == number]
                yield from self._write_stroke(folder, slide, stored.grid, stroke, cells, None)
            held_back, features = compute_painted(self.held_back.strokes, stored, run)
            predicted = self.classifier.predict(features).argmax(axis=1)
            is_used = np.isfinite(features).all(axis=1)
            is_used &= np.array([tuple(cell) not in known for cell in held_back.cells.tolist()], bool)
            for number, stroke in enumerate(held_back.strokes):
                chosen = is_used & (held_back.stroke == number)
                cells = held_back.cells[chosen]
                yield from self._write_stroke(folder, slide, stored.grid, stroke, cells, predicted[chosen])

    def _write_stroke(
        self,
        folder: Path,
        slide: Slide,
        grid: CellGrid,
        stroke: Stroke,
        cells: NDArray[np.int32],
        predicted: NDArray[np.intp] | None,
    ) -> Iterator[_WrittenTile]:
        """Write the tiles of a stroke; ``predicted``: classes of held-back cells by the painted classifier."""
        classes = self.classifier.classes
        for number, (corner, members) in enumerate(place_tiles(cells)):
            pixels = read_tile(slide, grid, corner)
            if pixels is None:
                continue
            name = f"{self.name}-{_hash(stroke.id)[:12]}-{number}"
            within = cells[members] - corner
            labels = np.full((SIDE_CELLS, SIDE_CELLS), UNLABELED_PIXEL, np.uint8)
            labels[tuple((within + MARGIN_CELLS).T)] = classes.index(stroke.class_name)
            cell_px = len(pixels) // len(labels)
            write_rgb(folder / "images" / f"{name}.png", pixels)
            write_labels(folder / "masks" / f"{name}.png", labels.repeat(cell_px, 0).repeat(cell_px, 1))
            row = {"image_id": name, "lesion_id": f"{self.name}-{_hash(stroke.id)[:12]}", "slide": self.name}
            row |= {"modality": MODALITY, TARGET: stroke.class_name}
            row |= {"split": TRAIN if predicted is None else TEST}
            yield _WrittenTile(row, [] if predicted is None else self._held_back_rows(row, within, predicted[members]))

    def _held_back_rows(
        self, row: Mapping[str, str], within: NDArray[np.int32], predicted: NDArray[np.intp]
    ) -> list[dict[str, object]]:
        names = {"image_id": row["image_id"], "slide": row["slide"], "stroke": row["lesion_id"], "class": row[TARGET]}
        return [
            {**names, "row": top, "column": left, "painted": self.classifier.classes[label]}
            for (top, left), label in zip(within.tolist(), predicted.tolist(), strict=True)
        ]


def _write_start(folder: Path, linear: LinearClassifier, tile: TileConfig) -> None:
    """Write a bundle of a network that predicts what the encoder that ships and a linear classifier predict."""
    from safetensors.numpy import save

    encoder = find_bundle(IMAGENET_BUNDLE)
    config = BundleConfig(
        name="painted",
        title=f"Classes of cells: {', '.join(linear.classes)}",
        architecture=ARCHITECTURE,
        options={**encoder.config.options, "contexts": list(CONTEXTS), "classes": len(linear.classes)},
        input_size=tile.side_px,
        mean=encoder.config.mean,
        std=encoder.config.std,
        classes=linear.classes,
        modalities=(SLIDE,),
        tile=tile,
        licence=encoder.config.licence,
        provenance={"encoder": encoder.name, "classifier": linear.kind},
    )
    arrays = {
        name: values.astype(np.float32) if values.dtype == np.float16 else values
        for name, values in read_arrays(encoder.path / WEIGHTS).items()
    }
    arrays["head.weight"] = linear.weight.T[:, :, None, None].astype(np.float32)
    arrays["head.bias"] = (linear.bias - linear.center @ linear.weight).astype(np.float32)
    with atomic_folder(folder) as temporary:
        write_json(temporary / CONFIG, config.model_dump(mode="json"))
        write_text(temporary / CARD, f"# {config.name}\n\n{config.title}: the initial weights of a training.\n")
        (temporary / WEIGHTS).write_bytes(save({name: np.asarray(one, order="C") for name, one in arrays.items()}))
