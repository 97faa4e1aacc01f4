"""The stored features of slides that need not be open: to search many slides, a block at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import NULL_CONTEXT, Progress, RunContext
from napari_melanoma.core.geometry import Box, MapPlacement, PixelSize
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.slide_store import ATTRIBUTE
from napari_melanoma.slides.notes import read_notes
from napari_melanoma.slides.reading.composite import read_as_rgb
from napari_melanoma.slides.reading.detection import FolderSearch
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.result_folder import SlideFolderNames, list_folder_names, record_slide, recorded_slide
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
from napari_melanoma.slides.tissue_classifier.feature_store import (
    FEATURES,
    FeatureStoreSpec,
    SlideFeatures,
    list_stored_blocks,
)

if TYPE_CHECKING:
    import zarr

    from napari_melanoma.slides.tissue_classifier.feature_sources import FeatureSource


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """The store of the features of a slide; read only.

    ``slide``: the file of the slide.
    """

    slide: Path
    spec: FeatureStoreSpec
    path: Path
    array: zarr.Array

    @classmethod
    def find(cls, slide: Path, folder: Path, source: FeatureSource) -> StoredFeatures | None:
        """Find the latest features of a source in the result folder of a slide; None if there are none.

        Features of another encoder, another version of it, or of channels of fluorescence are not comparable, and not
        found.
        """
        found, wanted = [], (source.fingerprint, source.mpp, None)
        for path in (folder / FEATURES).glob("*.zarr"):
            opened = _open(path)
            if opened is not None and (opened[0].source_fingerprint, opened[0].mpp, opened[0].channels) == wanted:
                found.append((path.stat().st_mtime, cls(slide, opened[0], path, opened[1])))
        return max(found, key=lambda one: one[0])[1] if found else None

    @property
    def placement(self) -> MapPlacement:
        """Placement of a map with a pixel for each cell."""
        return MapPlacement(*self.spec.corner, *self.spec.step, PixelSize(*self.spec.pixel_size_um))

    def list_blocks(self) -> NDArray[np.int32]:
        """List the blocks whose features are stored, int32 (block, 2), row by row."""
        shape = -(-self.spec.rows // BLOCK_CELLS), -(-self.spec.columns // BLOCK_CELLS)
        return np.argwhere(list_stored_blocks(self.path, shape)).astype(np.int32)

    def read_blocks(
        self, blocks: NDArray[np.integer], run: RunContext = NULL_CONTEXT
    ) -> Iterator[tuple[Box, NDArray[np.float32]]]:
        """Read blocks (block, 2) one after the other, each as its box of cells and float32 (row, column, feature).

        The features are NaN where they are not known. Damaged blocks are left out.
        """
        for top, left in (np.asarray(blocks) * BLOCK_CELLS).tolist():
            run.check()
            bottom, right = min(top + BLOCK_CELLS, self.spec.rows), min(left + BLOCK_CELLS, self.spec.columns)
            try:
                values: Any = self.array[top:bottom, left:right]
            except DAMAGE_ERRORS:
                continue
            yield Box(top, left, bottom - top, right - left), np.asarray(values, np.float32)


def _open(path: Path) -> tuple[FeatureStoreSpec, zarr.Array] | None:
    """Open a store; None if it is damaged or being created."""
    import zarr

    from napari_melanoma.io.zarr import ConfinedStore, check_metadata

    try:
        check_metadata(path)
        group = zarr.open_group(store=ConfinedStore(path), mode="r")
        spec = FeatureStoreSpec.parse(cast("dict[str, Any]", group.attrs[ATTRIBUTE]), str(path))
        return spec, cast("zarr.Array", group[FEATURES])
    except Exception:  # noqa: BLE001 - zarr raises many kinds of errors for missing and damaged metadata
        return None


def list_folder_slides(folder: Path, run: RunContext = NULL_CONTEXT) -> list[Path]:
    """List the slides in a folder and its subfolders; empty if it cannot be read."""
    return [path for path, is_slide in FolderSearch(run).walk(folder) if is_slide]


def find_stored_features(
    slides: Iterable[Path],
    root: Path,
    source: FeatureSource,
    known: Mapping[Path, Path] | None = None,
) -> tuple[list[StoredFeatures], list[Path]]:
    """Find the features of slides in a folder with their result folders.

    ``known``: result folders of slides that are open. Returns the features, and the slides that have none.
    """
    names, folders = SlideFolderNames(root, list_folder_names(root)), known or {}
    found, missing = [], []
    for slide in dict.fromkeys(slides):
        folder = folders.get(slide) or names.find_results(slide)
        stored = None if folder is None else StoredFeatures.find(slide, folder, source)
        if stored is None:
            missing.append(slide)
        else:
            found.append(stored)
    return found, missing


def compute_slide_features(slide: Path, folder: Path, source: FeatureSource, run: RunContext) -> None:
    """Compute the features of the tissue of a slide that are not stored yet, and store them in its result folder.

    The pixel size is that of the user in the notes of the slide, or that of the file. Raises ``InputError`` for a
    fluorescence slide.
    """
    with open_slide(slide, read_notes(folder).pixel_size) as opened:
        features = SlideFeatures.open(read_as_rgb(opened, None, "Find similar"), source, folder)
        if recorded_slide(folder) is None:
            record_slide(folder, slide, record_name=True)
        done, blocks = count(1), features.tissue_blocks
        message = f"Computing features of {slide.name}"
        features.compute(blocks, run, lambda block: run.report(Progress(next(done), len(blocks), message)))
        features.wait_until_written()
