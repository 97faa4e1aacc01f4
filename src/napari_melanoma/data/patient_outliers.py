"""Compare each lesion with the other lesions of the same patient, to find outliers (the "ugly duckling" sign).

The nevi of a patient resemble each other; a lesion that differs from them is suspicious (Grob and Bonerandi 1998, The
'ugly duckling' sign, doi:10.1001/archderm.134.1.103). The values of a patient depend only on the rows of this patient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.groups import normalize_patient
from napari_melanoma.data.row_values import read_text, read_value
from napari_melanoma.data.tabular_encoding import read_number

Row = Mapping[str, object]  # column to cell
MIN_LESIONS = 3  # lesions of a patient: of two, neither can be the outlier
MAX_ROBUST_Z = 10.0  # limit of a robust z, which a few very similar lesions make arbitrarily large
# Factors from the median and the mean absolute deviation to the standard deviation of a normal distribution
MAD_TO_STD, MEAN_TO_STD = 1.4826, 1.2533
ROUNDING_TOLERANCE = 1e-9  # a spread below this share of the median is rounding error
DECIMALS = 9  # distances are rounded before ranking: the order of summation changes them
COUNT_COLUMN, DISTANCE_COLUMN, RANK_COLUMN = "patient_lesions", "patient_distance", "patient_rank"
EMBEDDING_COLUMNS = ("patient_embedding_distance", "patient_embedding_z", "patient_embedding_rank")
OUTLIER_Z = 3.5  # least robust z of an outlier (Iglewicz and Hoaglin 1993)
MAX_VALUES_AT_ONCE = 2**21  # differences between lesions that are in memory at once


def list_patient_columns(measurements: Sequence[str], *, embedded: bool = False) -> tuple[str, ...]:
    """Name the columns that ``measure_patient_relative`` returns, in their order."""
    names = tuple(f"patient_z_{name}" for name in measurements)
    return (COUNT_COLUMN, *names, DISTANCE_COLUMN, RANK_COLUMN, *(EMBEDDING_COLUMNS if embedded else ()))


def measure_patient_relative(
    rows: Sequence[Row], measurements: Sequence[str], embeddings: NDArray[np.floating] | None = None
) -> list[dict[str, float]]:
    """Measure for each image how far its lesion lies from the other lesions of the same patient.

    Lesions are compared within a patient and a modality. A lesion with several images counts once, with the median of
    each measurement and the mean of the embeddings; an image without ``lesion_id`` is its own lesion.

    - ``patient_lesions``: number of lesions, this one included;
    - ``patient_z_<measurement>``: robust z (Iglewicz and Hoaglin 1993, How to Detect and Handle Outliers), which is
      (value - median) / (1.4826 MAD) over the patient's lesions, limited to -10 and 10; if the MAD is 0, the divisor is
      1.2533 times the mean absolute deviation, and if all values are equal, z is 0;
    - ``patient_distance``: root-mean-square difference of these z to another lesion, averaged over the other lesions;
    - ``patient_rank``: 1 for the lesion with the largest distance; ties share the smaller number;
    - ``patient_embedding_distance``: cosine distance of the embedding to another lesion's, averaged over the others;
    - ``patient_embedding_z`` and ``patient_embedding_rank``: robust z and rank of that distance.

    ``measurements``: columns to compare. Use lengths in mm and ratios, as lengths in pixels depend on the camera's
    distance. ``embeddings``: float (row, feature); a row of NaN where there is none. Returns for each row a dict with
    the names of ``list_patient_columns``; NaN where the patient is unknown, has fewer than three lesions with that
    value, or the lesion has no such value.
    """
    values = np.array([[read_number(row.get(name)) for name in measurements] for row in rows])
    values = values.reshape(len(rows), len(measurements))
    columns = list_patient_columns(measurements, embedded=embeddings is not None)
    results = np.full((len(rows), len(columns)), np.nan)
    for patient in _group_by_patient(rows):
        lesions = list(patient.values())
        measured = _compare_measurements(np.array([_median(values[images]) for images in lesions]))
        parts = [np.full((len(lesions), 1), float(len(lesions))), measured]
        if embeddings is not None:
            parts.append(_compare_embeddings(np.array([_mean(embeddings[images]) for images in lesions])))
        for images, values_of_lesion in zip(lesions, np.concatenate(parts, axis=1), strict=True):
            results[images] = values_of_lesion
    return [dict(zip(columns, values_of_row, strict=True)) for values_of_row in results.tolist()]


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure how far values lie from their median, in robust standard deviations.

    ``values``: float64 (lesion,), NaN if unknown. Returns float64 (lesion,) within -10 and 10; NaN where unknown, and
    everywhere if fewer than three are known.
    """
    known_values = values[~np.isnan(values)]
    if len(known_values) < MIN_LESIONS:
        return np.full(len(values), np.nan)
    median = np.median(known_values)
    deviations = np.abs(known_values - median)
    rounding = ROUNDING_TOLERANCE * abs(median)
    for scale in (MAD_TO_STD * np.median(deviations), MEAN_TO_STD * deviations.mean()):
        if scale > rounding:
            return np.clip((values - median) / scale, -MAX_ROBUST_Z, MAX_ROBUST_Z)
    return np.where(np.isnan(values), np.nan, 0.0)


def _group_by_patient(rows: Sequence[Row]) -> list[dict[tuple[str, object], list[int]]]:
    """Map lesions to the row indices of their images, for each patient and modality."""
    patients: dict[tuple[str, str], dict[tuple[str, object], list[int]]] = defaultdict(lambda: defaultdict(list))
    for index, row in enumerate(rows):
        patient, lesion = normalize_patient(read_text(row, "patient_id")), read_text(row, "lesion_id")
        if patient:
            lesions = patients[patient, read_value(row, "modality")]
            lesions[("lesion", lesion) if lesion else ("image", index)].append(index)
    return list(patients.values())


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of the known values in each column of (image, column); NaN where there is none."""
    if len(values) == 1:
        return values[0]
    known = [column[~np.isnan(column)] for column in values.T]
    return np.array([np.median(column) if column.size else np.nan for column in known])


def _mean(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the mean of the known embeddings (image, feature); NaN if there is none."""
    known = embeddings[~np.isnan(embeddings).any(axis=1)].astype(np.float64)
    return known.mean(axis=0) if len(known) else np.full(embeddings.shape[1], np.nan)


def _compare_measurements(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the robust z of each column, the distance and the rank of the lesions of a patient: (lesion, output)."""
    scaled = np.array([robust_z(column) for column in values.T]).reshape(values.shape[1], len(values)).T
    distance = _distances(scaled[:, ~np.isnan(scaled).all(axis=0)])
    return np.column_stack([scaled, distance, _ranks(distance)])


def _distances(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean distance of each lesion to the others, over the columns known for both.

    ``scaled``: robust z, (lesion, column). The distance is the root mean square of the differences.
    """
    count, width = scaled.shape
    if width == 0 or count < MIN_LESIONS:
        return np.full(count, np.nan)
    means = np.empty(count)
    step = max(1, MAX_VALUES_AT_ONCE // (count * width))
    for start in range(0, count, step):
        block = slice(start, start + step)
        differences = scaled[block, None, :] - scaled[None, :, :]
        known_for_both = ~np.isnan(differences)
        squares = np.where(known_for_both, differences, 0.0) ** 2
        shared_columns = known_for_both.sum(axis=2)
        distances = np.sqrt(squares.sum(axis=2) / np.maximum(shared_columns, 1))
        other_lesions = (shared_columns > 0).sum(axis=1) - 1  # without the lesion itself
        means[block] = np.where(other_lesions > 0, distances.sum(axis=1) / np.maximum(other_lesions, 1), np.nan)
    return means


def _compare_embeddings(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean cosine distance to the other lesions, its robust z and its rank: (lesion, 3)."""
    lengths = np.linalg.norm(embeddings, axis=1)
    known_lesions = np.flatnonzero(lengths > 0)  # neither NaN nor zero
    distance = np.full(len(embeddings), np.nan)
    if len(known_lesions) >= MIN_LESIONS:
        unit_vectors = embeddings[known_lesions] / lengths[known_lesions, None]
        similarity = (unit_vectors * (unit_vectors.sum(axis=0) - unit_vectors)).sum(axis=1) / (len(known_lesions) - 1)
        distance[known_lesions] = np.clip(1.0 - similarity, 0.0, 2.0)
    return np.column_stack([distance, robust_z(distance), _ranks(distance)])


def _ranks(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks by distance, 1 for the largest; NaN where unknown."""
    rounded = np.round(distance, DECIMALS)
    known = np.sort(rounded[~np.isnan(rounded)])
    ranks = 1.0 + len(known) - np.searchsorted(known, rounded, side="right")
    return np.where(np.isnan(distance), np.nan, ranks)


@dataclass(frozen=True)
class PatientOutlier:
    """How different a lesion is from the others of the same patient and modality; ``lesions`` counts all of them.

    ``distance`` is the mean cosine distance of its embedding to the others, ``z`` its robust z-score, ``rank`` is 1 for
    the most distant lesion; ``measured_rank`` is the rank by measurements, None if too few are known.
    """

    lesions: int
    rank: int
    distance: float
    z: float
    measured_rank: int | None = None

    @property
    def is_outlier(self) -> bool:
        return self.rank == 1 and self.z >= OUTLIER_Z

    @property
    def description(self) -> str:
        """The rank of the lesion in words."""
        lesions = f"{self.lesions} lesions of this patient"
        if self.rank == 1:
            return f"outlier among {lesions}" if self.is_outlier else f"most different among {lesions}"
        return f"rank {self.rank} by difference among {lesions}"
