"""Label and see: fit a classifier to diagnoses while they are given, and choose the photographs to label next."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.adaptation import (
    MIN_FOR_WEIGHTS,
    RECALIBRATED,
    AdaptationBase,
    Candidate,
    LabelCounts,
    LabeledCases,
    choose_case_folds,
    fit_candidate,
    predict_left_out,
)
from napari_melanoma.classification.embeddings import EmbeddedPhotograph, EmbeddingStore
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.formatting import format_count, to_sentence
from napari_melanoma.data.corrections import find_image_path, find_stored_file
from napari_melanoma.data.dataset import DatasetEntry, Key, Sample, make_sample
from napari_melanoma.data.diagnosis_labels import PhotographLabels
from napari_melanoma.data.groups import Groups
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.imaging.postprocessing import RefinementConfig, make_mask
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_mask
from napari_melanoma.metrics.calibration import softmax, wilson_interval
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import find_bundle, find_classifier
from napari_melanoma.runs.adapting import (
    check_model,
    choose_classes,
    create_base,
    leave_out_known,
    list_allowed_candidates,
    preview_adaptation,
)
from napari_melanoma.runs.clinic_photographs import (
    NO_DIAGNOSIS,
    AdaptOptions,
    ComparedPictures,
    LabeledPhotographs,
    RecognizedTypes,
    leave_out_unusable,
    require_encoder,
    select_photographs,
)
from napari_melanoma.training.data_selection import predicted_mask_path

LIVE_CANDIDATE = Candidate("stacked", 1.0)  # while labels are given; the selection of the bundle compares all
RANDOM_EVERY = 4  # a fourth of the photographs is drawn at random: only these estimate the accuracy
MORE_LABELS = 50  # whose benefit is estimated
CURVE_LABELS = (15, 20, 30, 45, 70, 100, 150, 220, 330, 500)
CURVE_DRAWS, MIN_DRAWN = 2, 8  # draws of each size; photographs drawn at random without which there is no curve
SEVERAL_TYPES = (
    "Labels are stored, but not fitted: the photographs are of several types ({counts}), and a model is adapted to one "
    "type at a time. Label each type in a folder of its own."
)


class PhotographFiles(NamedTuple):
    """What an embedding depends on: image, mask (None: the predicted one), and the patient data of the classifier."""

    image: Path
    mask: Path | None = None
    cells: tuple[tuple[str, str], ...] = ()


class FolderPhotograph(NamedTuple):
    """A photograph of the labeled folder; ``digest``: of its pixels, empty if unknown; ``is_skipped``: by the user."""

    path: Path
    digest: str = ""
    is_skipped: bool = False


class LearningCurve(NamedTuple):
    """Log loss by the number of labels, and its decrease by ``MORE_LABELS`` more labels."""

    labels: tuple[int, ...]
    losses: tuple[Estimate, ...]
    gain: Estimate


@dataclass(frozen=True)
class AdaptationChoice:
    """Whether the adapted model would be written and used, the reason, and that with its figures, in sentences."""

    is_used: bool
    verdict: str
    reason: str


class FittedPhotographs(NamedTuple):
    """The model, the labeled photographs that its adaptation uses, and their embeddings in the same order."""

    info: BundleInfo
    found: LabeledPhotographs
    embedded: tuple[EmbeddedPhotograph, ...]


@dataclass(frozen=True, eq=False)
class LabelFit:
    """The labeled photographs of a fit, as cases and as files; ``is_drawn``: bool (case,), drawn at random or not."""

    base: AdaptationBase
    cases: LabeledCases
    candidate: Candidate
    folds: NDArray[np.int64]
    is_drawn: NDArray[np.bool_]
    positive: int
    photographs: FittedPhotographs

    def preview_choice(self, run: RunContext) -> AdaptationChoice:
        """Choose as the command ``adapt`` does, without writing a model; this takes some seconds."""
        info, found, embedded = self.photographs
        figures = preview_adaptation(info, found, embedded, AdaptOptions(), run=run)
        return AdaptationChoice(figures.advice == "activate", figures.verdict, figures.reason)

    def estimate_accuracy(self) -> Estimate | None:
        """Estimate the accuracy by the photographs that were drawn at random, each predicted without its patient."""
        if not self.is_drawn.any():
            return None
        return self._count_hits(predict_left_out(self.base, self.cases, self.candidate, self.folds))

    def estimate_shipped_accuracy(self) -> Estimate | None:
        """Estimate the accuracy of the model as it is, by the same photographs."""
        if not self.is_drawn.any():
            return None
        return self._count_hits(self.cases.logits @ self.base.mix.T + self.base.offsets)

    def _count_hits(self, logits: NDArray[np.float64]) -> Estimate:
        """Estimate the accuracy of logits, float64 (case, class), on the photographs that were drawn."""
        count = int(self.is_drawn.sum())
        hits = int((logits.argmax(axis=1) == self.cases.labels)[self.is_drawn].sum())
        # The interval is that of as many patients: photographs of one are alike
        patients = len(np.unique(np.asarray(self.cases.groups)[self.is_drawn]))
        low, high = wilson_interval(hits / count * patients, patients)
        return Estimate(hits / count, float(low), float(high), count)

    @property
    def curve_sizes(self) -> list[int]:
        """Numbers of labels of the learning curve; empty if there are too few labels for one."""
        sizes = [size for size in CURVE_LABELS if size < 0.8 * len(self.folds)] + [round(0.8 * len(self.folds))]
        return sizes if len(sizes) > 1 and self.is_drawn.sum() >= MIN_DRAWN else []

    def measure_curve(self, run: RunContext) -> LearningCurve | None:
        """Measure the log loss of the random photographs after a fit to some of the others; None for too few."""
        drawn, sizes = np.flatnonzero(self.is_drawn), self.curve_sizes
        if not sizes:
            return None
        random = np.random.default_rng(0)
        losses = np.zeros((len(sizes), len(self.folds)))
        for fold in np.unique(self.folds[drawn]):
            tested, others = self.folds == fold, np.flatnonzero(self.folds != fold)
            for number, size in enumerate(sizes):
                for _ in range(CURVE_DRAWS):
                    run.check()
                    chosen = self.cases.subset(random.permutation(others)[:size])
                    has_weights = size >= MIN_FOR_WEIGHTS and self.candidate.has_weights
                    head = fit_candidate(self.base, chosen, self.candidate if has_weights else RECALIBRATED)
                    logits = head.predict(self.cases.logits[tested], self.cases.embeddings[tested])
                    true = logits[np.arange(len(logits)), self.cases.labels[tested]]
                    losses[number, tested] += (np.logaddexp.reduce(logits, axis=1) - true) / CURVE_DRAWS
        groups = np.asarray(self.cases.groups)[drawn]
        estimates = tuple(bootstrap_mean(row[drawn], groups) for row in losses)
        # Losses of a linear fit decrease with the inverse of the number of cases
        inverse = 1 / np.array(sizes) - np.mean(1 / np.array(sizes))
        slopes = inverse @ losses[:, drawn] / (inverse @ inverse)
        step = 1 / len(self.folds) - 1 / (len(self.folds) + MORE_LABELS)
        return LearningCurve(tuple(sizes), estimates, bootstrap_mean(slopes * step, groups))


@dataclass(frozen=True, eq=False)
class LabelingState:
    """What is known after a label.

    ``missing``: photographs without an embedding, by file. ``order``: photographs to label, the next one first.
    ``drawn``: those among them that are drawn at random. ``labeled_drawn``: number of photographs whose label states
    that they were drawn. ``labels``: what the list shows of labeled photographs, by file. ``shipped``, ``adapted``:
    probability of each class, by file; ``adapted`` is empty without a fit. ``accuracy``, ``shipped_accuracy``: of both
    models. ``notice``: why there is no fit, or what it leaves out. ``images``: ids of the corrections that are in the
    folder.
    """

    model: str = ""
    positive: str = ""
    missing: Mapping[Path, PhotographFiles] = field(default_factory=dict)
    order: tuple[Path, ...] = ()
    drawn: frozenset[Path] = frozenset()
    labeled_drawn: int = 0
    labels: Mapping[Path, str] = field(default_factory=dict)
    shipped: Mapping[Path, Mapping[str, float]] = field(default_factory=dict)
    adapted: Mapping[Path, Mapping[str, float]] = field(default_factory=dict)
    counts: LabelCounts = field(default_factory=LabelCounts)
    accuracy: Estimate | None = None
    shipped_accuracy: Estimate | None = None
    notice: str = ""
    images: tuple[str, ...] = ()
    fit: LabelFit | None = None

    @property
    def labeled_count(self) -> int:
        """Number of photographs of the folder with a label, as counted above the list."""
        return len(self.labels.keys() - {*self.order})


class _Row(NamedTuple):
    """A row of the corrections: as given, harmonized, as a sample (None without its image), and its labels."""

    row: Mapping[str, str]
    harmonized: dict[str, str]
    sample: Sample | None
    labels: PhotographLabels


class Labeling:
    """Photographs of a folder, their embeddings by one classifier, and the fit to their labels in the corrections.

    Used by one thread at a time. Labels of photographs that are not in the folder do not count.
    """

    def __init__(self, model: str, corrections: Path) -> None:
        self.info = find_classifier(model)
        check_model(self.info)
        corrections.mkdir(parents=True, exist_ok=True)  # otherwise, the embeddings would be stored in the cache
        self.corrections, self._store = corrections, EmbeddingStore(corrections, self.info)
        self._segmenter = find_bundle(AdaptOptions().segmenter)
        self._harmonizer, self._pictures = Harmonizer(), ComparedPictures(self.info)
        self._rows: dict[str, _Row] = {}  # by digest
        self._bases: dict[tuple[str, ...], AdaptationBase] = {}  # by classes
        self._embedded: dict[Path, tuple[PhotographFiles, EmbeddedPhotograph]] = {}

    def update(
        self,
        photographs: Sequence[FolderPhotograph],
        rows: Mapping[str, Mapping[str, str]],
        reader: str,
        run: RunContext,
    ) -> LabelingState:
        """Read new embeddings, fit the labels, and order the photographs that the reader has not labeled.

        ``rows``: of the corrections, by the digest of the pixels.
        """
        digests = {one.digest for one in photographs} & rows.keys()
        self._rows = {digest: self._read_row(rows[digest], self._rows.get(digest)) for digest in digests}
        known = {one.path: self._rows[one.digest] for one in photographs if one.digest in digests}
        files = {one.path: self._find_files(one.path, known.get(one.path)) for one in photographs}
        missing = self._read(files, run)
        embedded = {path: self._embedded[path][1] for path in files if path in self._embedded}
        state = self._fit(known, embedded, run)
        labels = {path: label for path, row in known.items() if (label := row.labels.describe(reader))}
        closed = {
            path for path, row in known.items() if row.row.get("review") == "rejected" or row.labels.is_closed(reader)
        }
        order, drawn = order_photographs(photographs, closed, embedded, state)
        rows_of_folder = self._rows.values()
        return replace(
            state,
            missing=missing,
            order=order,
            drawn=drawn,
            labeled_drawn=sum(row.labels.was_drawn for row in rows_of_folder),
            labels=labels,
            images=tuple(row.row["image_id"] for row in rows_of_folder),
        )

    def _read_row(self, row: Mapping[str, str], before: _Row | None) -> _Row:
        """Harmonize a row, and find its files, unless it is unchanged: stored files do not change."""
        if before is not None and before.row == row:
            return before
        image = find_stored_file(self.corrections, find_image_path(self.corrections, dict(row)))
        mask = find_stored_file(self.corrections, row.get("mask_path", ""))
        sample = make_sample(DatasetEntry(dict(row), image, mask), self.corrections, Groups([row]))
        usable = sample if isinstance(sample, Sample) else None
        return _Row(row, self._harmonizer.harmonize_row(row), usable, PhotographLabels.of(row))

    def _find_files(self, path: Path, row: _Row | None) -> PhotographFiles:
        if row is None or row.sample is None:
            return PhotographFiles(path)
        cells = tuple((name, value) for name in self.info.patient_data_columns if (value := row.harmonized.get(name)))
        return PhotographFiles(row.sample.image, row.sample.mask, cells)

    def _get_base(self, classes: tuple[str, ...]) -> AdaptationBase:
        if classes not in self._bases:
            self._bases[classes] = create_base(self.info, classes)
        return self._bases[classes]

    def _read(self, files: Mapping[Path, PhotographFiles], run: RunContext) -> dict[Path, PhotographFiles]:
        """Read stored embeddings that are new; return the photographs that have none."""
        missing = {}
        for path, one in files.items():
            run.check()
            known = self._embedded.get(path)
            if known is not None and known[0] == one:
                continue
            if known is not None and one == known[0]._replace(image=one.image):  # labeled since: with the same pixels
                self._copy(known[0], one)
            if (found := self._read_stored(one)) is None:
                missing[path] = one
            else:
                self._embedded[path] = one, found
        return missing

    def _read_stored(self, files: PhotographFiles) -> EmbeddedPhotograph | None:
        try:
            key, _ = make_key(self._store, self._segmenter, files)
        except OSError:  # the file was removed
            return None
        return self._store.read(key) if key else None

    def _copy(self, source: PhotographFiles, stored: PhotographFiles) -> None:
        """Store mask and embedding of a photograph also for its copy in the corrections."""
        with suppress(OSError, SaveError):  # it is computed again
            key, mask = make_key(self._store, self._segmenter, source)
            if mask is not None and source.mask is None:
                target = find_predicted_mask(stored.image, self._segmenter)
                if not target.is_file():
                    with atomic_file(target) as temporary:
                        temporary.write_bytes(mask.read_bytes())
            copy, _ = make_key(self._store, self._segmenter, stored)
            if key and not self._store.contains(copy):
                with atomic_file(self._store.folder / f"{copy}.npz") as temporary:
                    temporary.write_bytes((self._store.folder / f"{key}.npz").read_bytes())

    def _fit(
        self, known: Mapping[Path, _Row], embedded: Mapping[Path, EmbeddedPhotograph], run: RunContext
    ) -> LabelingState:
        config = self.info.config
        assert config.classifier is not None  # guaranteed by the check of the model
        positive, paths = config.classifier.positive, list(embedded)
        logits = np.array([embedded[path].logits for path in paths]).reshape(len(paths), len(config.classes))
        base = self._get_base(config.classes)
        shipped = _by_class(paths, config.classes, softmax(logits @ base.mix.T + base.offsets))
        state = LabelingState(self.info.name, positive, shipped=shipped)
        by_key = {row.sample.key: path for path, row in known.items() if row.sample is not None and path in embedded}
        found, types = self._select({key: known[path] for key, path in by_key.items()}, by_key, embedded, run)
        state = replace(state, notice=_describe_left_out(found, known.values()))
        classes, labels = choose_classes(config, found.labels, found.positive)
        index, groups = classes.index(positive), found.groups
        state = replace(state, counts=LabelCounts.of(labels, groups, index))
        if types.mixture:
            return replace(state, notice=SEVERAL_TYPES.format(counts=types.mixture))
        if state.counts.describe_missing(positive):
            return state
        used = [by_key[sample.key] for sample in found.samples]
        base, features = self._get_base(classes), np.stack([embedded[path].embedding for path in paths])
        cases = LabeledCases(
            np.stack([embedded[path].embedding for path in used]),
            np.stack([embedded[path].logits for path in used]),
            labels,
            groups,
        )
        allowed = list_allowed_candidates(self.info, labels, index)
        candidate = LIVE_CANDIDATE if LIVE_CANDIDATE in allowed else RECALIBRATED
        is_drawn = np.array([known[path].labels.was_drawn for path in used])
        folds = choose_case_folds(cases, classes, index, repeats=1)[0]
        photographs = FittedPhotographs(self.info, found, tuple(embedded[path] for path in used))
        fit = LabelFit(base, cases, candidate, folds, is_drawn, index, photographs)
        adapted = softmax(fit_candidate(base, cases, candidate).predict(logits, features))
        return replace(
            state,
            adapted=_by_class(paths, classes, adapted),
            accuracy=fit.estimate_accuracy(),
            shipped_accuracy=fit.estimate_shipped_accuracy(),
            fit=fit,
        )

    def _select(
        self,
        rows: Mapping[Key, _Row],
        paths: Mapping[Key, Path],
        embedded: Mapping[Path, EmbeddedPhotograph],
        run: RunContext,
    ) -> tuple[LabeledPhotographs, RecognizedTypes]:
        """Select the photographs of the fit, as the command ``adapt`` does, and their types."""
        samples = sorted((row.sample for row in rows.values() if row.sample), key=lambda sample: sample.image_id)
        tables = {key: row.row for key, row in rows.items()}, {key: row.harmonized for key, row in rows.items()}
        found = select_photographs(self.info, samples, tables, AdaptOptions(), self._pictures, run)
        found = leave_out_known(self.info, found, self._pictures)
        of_sample = {sample.key: embedded[paths[sample.key]] for sample in found.samples}
        return leave_out_unusable(found, of_sample, self._pictures)


def _by_class(
    paths: Sequence[Path], classes: Sequence[str], values: NDArray[np.float64]
) -> dict[Path, Mapping[str, float]]:
    return {path: dict(zip(classes, row.tolist(), strict=True)) for path, row in zip(paths, values, strict=True)}


def _describe_left_out(found: LabeledPhotographs, rows: Iterable[_Row]) -> str:
    """Describe which labeled photographs are not used in the fit."""
    counts = {"the readers disagree": len({row.row["image_id"] for row in rows if row.labels.is_disputed})}
    counts |= {reason: len(names) for reason, names in found.left_out.items() if reason != NO_DIAGNOSIS}
    texts = [f"{format_count(count, 'photograph')} ({reason})" for reason, count in counts.items() if count]
    left_out = f"Left out: {', '.join(texts)}." if texts else ""
    return " ".join(filter(None, [left_out, *{to_sentence(row.labels.fault) for row in rows if row.labels.fault}]))


# The order.


def _draw_rank(path: Path) -> str:
    """Return the position of a photograph in the random order, which depends on its name alone."""
    return hashlib.sha256(path.name.encode()).hexdigest()


def is_in_random_sample(path: Path) -> bool:
    """Return whether a photograph belongs to the fourth that is drawn at random, by its name alone.

    It is not offered because of its prediction: otherwise, the most difficult ones would be labeled before they could
    be drawn, and the accuracy of the drawn ones would be too high.
    """
    return int(_draw_rank(path)[:8], 16) < 16**8 / RANDOM_EVERY


def order_photographs(
    photographs: Sequence[FolderPhotograph],
    closed: set[Path],
    embedded: Mapping[Path, EmbeddedPhotograph],
    state: LabelingState,
) -> tuple[tuple[Path, ...], frozenset[Path]]:
    """Order the photographs that are not closed, and return those drawn at random among them.

    The most informative ones come first: those with an uncertain prediction that are unlike the closed ones. Every
    fourth one is drawn at random. Skipped ones come last.
    """
    waiting = [one.path for one in photographs if one.path not in closed and not one.is_skipped]
    skipped = [one.path for one in photographs if one.path not in closed and one.is_skipped]
    scores = score_photographs(waiting, [path for path in closed if path in embedded], embedded, state)
    drawn = sorted(filter(is_in_random_sample, waiting), key=_draw_rank)
    informative = sorted(
        (path for path in waiting if not is_in_random_sample(path)), key=lambda path: -scores.get(path, 0.0)
    )
    done = sum(one.path in closed for one in photographs)
    queues = deque(informative), deque(drawn)
    order: list[Path] = []
    while any(queues):
        is_random = (done + len(order)) % RANDOM_EVERY == RANDOM_EVERY - 1
        order.append((queues[is_random] or queues[not is_random]).popleft())
    return (*order, *skipped), frozenset(drawn)


def score_photographs(
    waiting: Sequence[Path], closed: Sequence[Path], embedded: Mapping[Path, EmbeddedPhotograph], state: LabelingState
) -> dict[Path, float]:
    """Return how informative a label would be: the entropy of the prediction times the distance to labeled ones."""
    known = [path for path in waiting if path in embedded]
    predicted = state.adapted or state.shipped
    if not known or not predicted:
        return {}
    probabilities = np.clip([list(predicted[path].values()) for path in known], 1e-6, 1)
    entropy = -(probabilities * np.log(probabilities)).sum(axis=1)
    if not closed:
        return dict(zip(known, entropy.tolist(), strict=True))
    features = np.stack([embedded[path].embedding for path in (*known, *closed)]).astype(np.float64)
    features = (features - features.mean(axis=0)) / np.maximum(features.std(axis=0), 1e-3)
    squares = (features**2).sum(axis=1)
    left, right = features[: len(known)], features[len(known) :]
    distances = squares[: len(known), None] + squares[None, len(known) :] - 2 * left @ right.T
    nearest = np.sqrt(np.maximum(distances.min(axis=1), 0))
    return dict(zip(known, (entropy * nearest).tolist(), strict=True))


# The embeddings.


def make_key(store: EmbeddingStore, segmenter: BundleInfo, files: PhotographFiles) -> tuple[str, Path | None]:
    """Return the key of an embedding and its mask; an empty key if the mask is not predicted yet."""
    config, mask = store.info.config.classifier, files.mask
    if config is not None and config.view.region == "photograph":
        mask = None
    elif mask is None:
        mask = find_predicted_mask(files.image, segmenter)
        if not mask.is_file():
            return "", mask
    return store.make_key(files.image, mask, dict(files.cells)), mask


def find_predicted_mask(image: Path, segmenter: BundleInfo) -> Path:
    """Return the file of the predicted mask of a photograph, which may not exist yet."""
    return predicted_mask_path(Sample(image.stem, image, None, image.stem, "", ""), segmenter)


def embed_photograph(model: str, corrections: Path, files: PhotographFiles) -> None:
    """Compute and store the embedding of a photograph, with its predicted mask if it has none."""
    from napari_melanoma.lesion.loaded_models import load_classifier, load_segmenter

    classifier, segmenter = require_encoder(load_classifier(model)), find_bundle(AdaptOptions().segmenter)
    store = EmbeddingStore(corrections, classifier.info)
    key, mask = make_key(store, segmenter, files)
    if not key and mask is not None:
        probability = load_segmenter(segmenter.name).probability(read_photograph(files.image).rgb)
        with atomic_file(mask) as temporary:
            write_mask(temporary, make_mask(probability, segmenter.config.threshold, RefinementConfig()))
        key, mask = make_key(store, segmenter, files)
    store.embed(key, files.image, mask, dict(files.cells), classifier)
