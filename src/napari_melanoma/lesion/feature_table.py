"""The feature table of a data set: measurements of each lesion, compared with the patient's other lesions."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import Progress, RunContext, StageLimit, map_ahead, usable_cores
from napari_melanoma.core.errors import BundleError, DataSetError
from napari_melanoma.core.prediction_config import RoiConfig
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import DatasetEntry, Sample, check_lesion_masks, iter_entries, read_pixel_size
from napari_melanoma.data.groups import normalize_patient
from napari_melanoma.data.partial_results import PartialResults, stamp_files
from napari_melanoma.data.patient_outliers import (
    DISTANCE_COLUMN,
    EMBEDDING_COLUMNS,
    list_patient_columns,
    measure_patient_relative,
)
from napari_melanoma.data.row_values import read_text
from napari_melanoma.imaging.masks import extract_roi
from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS, MEASUREMENTS, measure_lesion
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import check_replaceable, read_mask, write_table
from napari_melanoma.lesion.batch import EXTRA_THREADS, describe_error
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.inference import InferenceNetwork, load_inference, normalize_images

FEATURES = "features.csv"
# Lengths in pixels cannot be compared between photographs
COMPARED = tuple(measurement.name for measurement in MEASUREMENTS if not measurement.unit.startswith("px"))
COMPARISON_COLUMNS = (DISTANCE_COLUMN, EMBEDDING_COLUMNS[0])
BATCH_IMAGES = 16  # images per batch of the network
DIGITS = 5  # significant digits of an embedding
Row = dict[str, Any]
log = logging.getLogger(__name__)


class FeatureOptions(Config):
    """Options for comparing lesions by embeddings, in addition to their measurements."""

    model: str | None = Field(None, description="bundle whose encoder computes embeddings; none by default")
    roi: RoiConfig = Field(RoiConfig(background="keep"), description="the crop around the mask for the embedding")


@dataclass(frozen=True)
class FeatureReport:
    """Counts of the images of a data set.

    ``images``: all rows. ``measured``: images with measurements. ``patients``: patients with lesions that could be
    compared. ``faults``: pairs of an ``image_id`` that failed, or the name of the data set for a row that cannot be
    read, and the reason.
    """

    images: int
    measured: int
    without_mask: int
    without_image: int
    patients: int
    faults: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _FeatureItem:
    """An image in the pipeline.

    ``stamp`` changes with the image's files and scale. ``is_stored``: whether its values are an intermediate result.
    ``network_input``: uint8 (side, side, channel), only until the image is embedded. ``embedding``: float32 (feature,).
    """

    entry: DatasetEntry
    stamp: str = ""
    is_stored: bool = False
    measurements: dict[str, float] | None = None
    network_input: NDArray[np.uint8] | None = None
    embedding: NDArray[np.float32] | None = None
    error: str = ""


def compute_features(
    folder: Path, out: Path, options: FeatureOptions, *, run: RunContext, model: Embedder | None = None
) -> FeatureReport:
    """Measure the lesions of a data set by their masks, and compare each with the others of its patient.

    Intermediate results are stored beside ``out`` until it is written, so that an interrupted call can be resumed.

    ``folder``: the data set. ``out``: the table to be written. Lengths in mm need the columns ``mpp_x`` and ``mpp_y``,
    or files that state a scale. ``model``: by default, that of the options is loaded.
    """
    from napari_melanoma.models.installed_bundles import find_bundle

    columns = ("image_id", *MEASUREMENT_COLUMNS, *list_patient_columns(COMPARED, embedded=True))
    check_replaceable(out, columns)
    check_lesion_masks([folder])
    entries, with_image, row_faults = _read_entries(folder)
    embedder = model or (Embedder.load(find_bundle(options.model)) if options.model else None)
    partial_folder = out.with_name(f"{out.name}.unfinished")
    partial_results = PartialResults(partial_folder, _feature_settings(embedder, options))
    items = []
    try:
        pipeline = _FeaturePipeline(folder, embedder, options, partial_results, run)
        for done, item in enumerate(pipeline.process(with_image), start=1):
            items.append(item)
            run.report(Progress(done, len(with_image), "Measuring"))
    finally:
        partial_results.flush()
    failed = [(item.entry.image_id, item.error) for item in items if item.error]
    if len(failed) == len(items):
        raise DataSetError(
            f"none of {len(items)} images could be measured. First error: '{failed[0][0]}': {failed[0][1]}"
        )
    rows = _create_rows(items, embedded=bool(embedder))
    patient_columns = list_patient_columns(COMPARED, embedded=bool(embedder))
    write_table(out, rows, ("image_id", *MEASUREMENT_COLUMNS, *patient_columns))
    shutil.rmtree(partial_folder, ignore_errors=True)
    return _create_report(entries, items, rows, [*row_faults, *failed])


def _read_entries(folder: Path) -> tuple[list[DatasetEntry], list[DatasetEntry], list[tuple[str, str]]]:
    """Return the rows of a data set, those with an image, and pairs (name, fault) for rows that cannot be read."""
    rows = list(iter_entries(folder))
    entries = [row for row in rows if isinstance(row, DatasetEntry)]
    with_image = [entry for entry in entries if entry.image is not None]
    if not with_image:
        raise DataSetError(f"{folder} has {len(entries)} rows without images. Expected at least one image to measure.")
    return entries, with_image, [(folder.name, str(row)) for row in rows if isinstance(row, DataSetError)]


class _FeaturePipeline:
    """Processes images in stages: reading and measuring in threads, and the network."""

    def __init__(
        self,
        folder: Path,
        model: Embedder | None,
        options: FeatureOptions,
        partial_results: PartialResults,
        run: RunContext,
    ) -> None:
        self._folder = folder
        self._model = model
        self._options = options
        self._partial_results = partial_results
        self._run = run

    def process(self, entries: Iterable[DatasetEntry]) -> Iterator[_FeatureItem]:
        """Measure and embed images, in order."""
        workers = usable_cores() + EXTRA_THREADS
        pool = ThreadPoolExecutor(workers, thread_name_prefix="measuring")
        try:
            read = map_ahead(pool, self._read, entries, StageLimit(2 * workers), self._run)
            for item in read if self._model is None else self._embed(read, self._model):
                if not (item.error or item.is_stored):
                    values = [item.measurements or {}]
                    if item.embedding is not None:
                        values.append({str(index): value for index, value in enumerate(_round(item.embedding))})
                    self._partial_results.add(self._sample(item.entry), item.stamp, values)
                yield item
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _read(self, entry: DatasetEntry) -> _FeatureItem:
        """Return an intermediate result, or read and measure an image (in a thread)."""
        sample = self._sample(entry)
        stamp = f"{stamp_files(sample)} {read_pixel_size(entry.row)}"
        stored = self._partial_results.pop(sample, stamp)
        if stored is not None:  # measurements and, with a model, the embedding
            embedding = np.array(list(stored[1].values()), np.float32) if len(stored) > 1 else None
            return _FeatureItem(entry, stamp, is_stored=True, measurements=stored[0], embedding=embedding)
        try:
            return replace(self._measure(entry), stamp=stamp)
        except Exception as error:  # reported as a failure of this image; the others continue
            log.debug("%s failed", sample.image, exc_info=error)
            return _FeatureItem(entry, stamp, error=describe_error(error, sample.image, self._folder))

    def _measure(self, entry: DatasetEntry) -> _FeatureItem:
        """Read an image and its mask, measure it, and crop the lesion if it is to be embedded."""
        assert entry.image is not None
        photograph = read_photograph(entry.image)
        mask = None if entry.mask is None else read_mask(entry.mask)
        if mask is not None and mask.shape != photograph.rgb.shape[:2]:
            raise DataSetError(
                f"the mask has {mask.shape[0]} x {mask.shape[1]} pixels, but the image {photograph.rgb.shape[0]} x "
                f"{photograph.rgb.shape[1]}. A mask needs the same size as its upright image."
            )
        scale = read_pixel_size(entry.row) or photograph.pixel_size
        measurements = {} if mask is None else measure_lesion(mask, photograph.rgb, scale)
        if self._model is None:
            return _FeatureItem(entry, measurements=measurements)
        roi = None if mask is None else extract_roi(photograph.rgb, mask, self._options.roi)
        config, image = self._model.info.config, photograph.rgb if roi is None else roi.image
        network_input = prepare_network_input(image, config.input_size, config.preprocessing)
        return _FeatureItem(entry, measurements=measurements, network_input=network_input)

    def _embed(self, items: Iterable[_FeatureItem], model: Embedder) -> Iterator[_FeatureItem]:
        """Embed batches of images, in the thread of the caller."""
        remaining = iter(items)
        while batch := list(islice(remaining, BATCH_IMAGES)):
            self._run.check()
            inputs = [item.network_input for item in batch if item.network_input is not None]
            vectors = iter(model.vectors(inputs) if inputs else ())
            for item in batch:
                if item.network_input is None:
                    yield item
                else:
                    yield replace(item, network_input=None, embedding=np.array(_round(next(vectors)), np.float32))

    def _sample(self, entry: DatasetEntry) -> Sample:
        """Return the key of an image's intermediate results."""
        assert entry.image is not None
        return Sample(entry.image_id, entry.image, entry.mask, "", "", self._folder.name)


def _create_rows(items: Sequence[_FeatureItem], *, embedded: bool) -> list[Row]:
    """Create the rows of the table: measurements, and comparisons with the patient's other lesions."""
    measurements = [item.measurements or {} for item in items]
    comparisons = measure_patient_relative(
        [{**item.entry.row, **values} for item, values in zip(items, measurements, strict=True)],
        COMPARED,
        _stack_embeddings(items) if embedded else None,
    )
    return [
        {"image_id": item.entry.image_id, **values, **relative}
        for item, values, relative in zip(items, measurements, comparisons, strict=True)
    ]


def _stack_embeddings(items: Sequence[_FeatureItem]) -> NDArray[np.float32]:
    """Return the embeddings of all images, float32 (image, feature); NaN for an image without one."""
    width = next((len(item.embedding) for item in items if item.embedding is not None), 0)
    missing = np.full(width, np.nan, np.float32)
    return np.array([missing if item.embedding is None else item.embedding for item in items])


def _create_report(
    entries: Sequence[DatasetEntry],
    items: Sequence[_FeatureItem],
    rows: Sequence[Row],
    faults: Sequence[tuple[str, str]],
) -> FeatureReport:
    compared_patients = {
        normalize_patient(read_text(item.entry.row, "patient_id"))
        for item, row in zip(items, rows, strict=True)
        if not np.isnan([row[name] for name in COMPARISON_COLUMNS if name in row]).all()
    }
    return FeatureReport(
        images=len(entries),
        measured=sum(bool(item.measurements) for item in items),
        without_mask=sum(entry.mask is None and entry.image is not None for entry in entries),
        without_image=sum(entry.image is None for entry in entries),
        patients=len(compared_patients),
        faults=tuple(faults),
    )


def _round(embedding: NDArray[np.float32]) -> list[float]:
    """Round an embedding as in the intermediate file, so that a resumed run gives the same table."""
    return [float(f"{value:.{DIGITS}g}") for value in embedding.tolist()]


def _feature_settings(model: Embedder | None, options: FeatureOptions) -> dict[str, object]:
    return {
        "model": None if model is None else [model.info.fingerprint, model.device],
        "roi": options.roi.model_dump(mode="json"),
        "version": collect_provenance()["version"],
    }


class Embedder:
    """The encoder of a bundle, which embeds images of lesions."""

    def __init__(self, info: BundleInfo, network: InferenceNetwork) -> None:
        self.info = info
        self.network = network

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None) -> Self:
        network = load_inference(info, device)
        if "embed" not in network.functions:
            raise BundleError(
                f"the network of '{info.name}' ({info.config.architecture}) has no encoder for embeddings. Select "
                "another model, such as lesion-small."
            )
        return cls(info, network)

    @property
    def device(self) -> str:
        return self.network.device

    def embed(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed images by the mean of each of the encoder's deepest feature maps.

        ``images``: each uint8 (row, column, channel), sRGB, of any size; resized to the bundle's input size. Returns
        float32 (image, feature).
        """
        config = self.info.config
        return self.vectors([prepare_network_input(image, config.input_size, config.preprocessing) for image in images])

    def vectors(self, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed images of the bundle's input size (``prepare_network_input``).

        ``inputs``: each uint8 (side, side, channel). Returns float32 (image, feature).
        """
        if not inputs:
            return np.zeros((0, 0), np.float32)
        return self.network.run("embed", image=normalize_images(inputs, self.info.config))["embedding"]
