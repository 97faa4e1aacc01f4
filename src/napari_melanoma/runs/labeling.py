"""Label and see: fit a classifier to diagnoses while they are given, and choose the photographs to label next."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

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
from napari_melanoma.core.errors import BundleError, SaveError
from napari_melanoma.core.files import atomic_file
from napari_melanoma.core.formatting import format_count
from napari_melanoma.data.corrections import DRAWN, find_image_path, find_stored_file, read_diagnoses
from napari_melanoma.data.dataset import Sample, get_group_id
from napari_melanoma.data.harmonize import Harmonizer
from napari_melanoma.imaging.modality import certain_modality, shows_no_skin
from napari_melanoma.imaging.postprocessing import RefinementConfig, make_mask
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_mask
from napari_melanoma.metrics.calibration import softmax, wilson_interval
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models.installed_bundles import find_bundle, find_classifier
from napari_melanoma.runs.adapting import check_model, choose_classes, create_base, list_allowed_candidates
from napari_melanoma.runs.clinic_photographs import MIXED_SHARE, AdaptOptions, read_classes, require_encoder
from napari_melanoma.training.data_selection import predicted_mask_path
from napari_melanoma.training.run_data import read_training_images

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.models.bundle import BundleInfo

LIVE_CANDIDATE = Candidate("stacked", 1.0)  # while labels are given; the selection of the bundle compares all
RANDOM_EVERY = 4  # every fourth photograph is drawn at random: only these estimate the accuracy
MORE_LABELS = 50  # whose benefit is estimated
CURVE_LABELS = (15, 20, 30, 45, 70, 100, 150, 220, 330, 500)
CURVE_DRAWS, MIN_DRAWN = 2, 8  # draws of each size; photographs drawn at random without which there is no curve
DOMAIN = "corrections"  # of all rows; a name for their keys
SEVERAL_TYPES = (
    "Labels are stored, but not fitted: the photographs are of several types ({counts}), and a model is adapted to one "
    "type at a time. Use a corrections folder for each type."
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


@dataclass(frozen=True, eq=False)
class LabelFit:
    """The labeled photographs of a fit; ``is_drawn``: bool (case,), whether they were drawn at random."""

    base: AdaptationBase
    cases: LabeledCases
    candidate: Candidate
    folds: NDArray[np.int64]
    is_drawn: NDArray[np.bool_]
    positive: int

    def estimate_accuracy(self) -> Estimate | None:
        """Estimate the accuracy by the photographs that were drawn at random, each predicted without its patient."""
        count = int(self.is_drawn.sum())
        if not count:
            return None
        logits = predict_left_out(self.base, self.cases, self.candidate, self.folds)
        hits = int((logits.argmax(axis=1) == self.cases.labels)[self.is_drawn].sum())
        low, high = wilson_interval(hits, count)
        return Estimate(hits / count, float(low), float(high), count)

    def measure_curve(self, run: RunContext) -> LearningCurve | None:
        """Measure the log loss of the random photographs after a fit to some of the others; None for too few."""
        drawn = np.flatnonzero(self.is_drawn)
        sizes = [size for size in CURVE_LABELS if size < 0.8 * len(self.folds)] + [round(0.8 * len(self.folds))]
        if len(drawn) < MIN_DRAWN or len(sizes) < 2:
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
    ``drawn``: those among them that are drawn at random. ``labels``: what the list shows of labeled photographs, by
    file. ``shipped``, ``adapted``: probability of each class, by file; ``adapted`` is empty without a fit.
    ``notice``: why there is no fit, or what it leaves out.
    """

    model: str = ""
    positive: str = ""
    missing: Mapping[Path, PhotographFiles] = field(default_factory=dict)
    order: tuple[Path, ...] = ()
    drawn: frozenset[Path] = frozenset()
    labels: Mapping[Path, str] = field(default_factory=dict)
    shipped: Mapping[Path, Mapping[str, float]] = field(default_factory=dict)
    adapted: Mapping[Path, Mapping[str, float]] = field(default_factory=dict)
    counts: LabelCounts = field(default_factory=LabelCounts)
    accuracy: Estimate | None = None
    notice: str = ""
    fit: LabelFit | None = None


class _Row(NamedTuple):
    """A row of the corrections: as given, harmonized, and its files; None if the image is missing."""

    row: Mapping[str, str]
    harmonized: dict[str, str]
    files: PhotographFiles | None


@dataclass(frozen=True, eq=False)
class _Item:
    """A photograph of the corrections: its file in the folder, else in the corrections, and its row."""

    path: Path
    row: Mapping[str, str]
    harmonized: Mapping[str, str]
    is_drawn: bool

    @property
    def key(self) -> tuple[str, str]:
        return DOMAIN, self.row["image_id"]

    @property
    def is_rejected(self) -> bool:
        return self.row.get("review") == "rejected"


class Labeling:
    """Photographs of a folder, their embeddings by one classifier, and the fit to the labels in the corrections.

    Used by one thread at a time. Labeled photographs that are in the corrections, but not in the folder, count.
    """

    def __init__(self, model: str, corrections: Path) -> None:
        self.info = find_classifier(model)
        check_model(self.info)
        corrections.mkdir(parents=True, exist_ok=True)  # otherwise, the embeddings would be stored in the cache
        self.corrections, self._store = corrections, EmbeddingStore(corrections, self.info)
        self._segmenter = find_bundle(AdaptOptions().segmenter)
        self._harmonizer = Harmonizer()
        self._rows: dict[str, _Row] = {}  # by digest
        self._bases: dict[tuple[str, ...], AdaptationBase] = {}  # by classes
        self._embedded: dict[Path, tuple[PhotographFiles, EmbeddedPhotograph]] = {}

    @cached_property
    def _trained(self) -> NDArray[np.uint64]:
        """Hashes of the images that the classifier was trained on."""
        try:
            listed = read_training_images(self.info)
        except BundleError:
            listed = None
        return np.zeros(0, np.uint64) if listed is None else listed.pixels

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
        self._rows = {digest: self._read_row(row, self._rows.get(digest)) for digest, row in rows.items()}
        in_folder = {one.digest: one.path for one in photographs if one.digest in rows}
        frontier = _find_frontier(photographs, rows)
        files = {one.path: PhotographFiles(one.path) for one in photographs}
        items = []
        for digest, (row, harmonized, stored) in self._rows.items():
            if stored is None or (digest not in in_folder and not row.get("diagnosis")):
                continue
            path = in_folder.get(digest, stored.image)
            files[path] = stored
            is_drawn = _draw_rank(path) <= frontier if digest in in_folder else _was_drawn(row)
            items.append(_Item(path, row, harmonized, is_drawn))
        missing = self._read(files, run)
        embedded = {path: self._embedded[path][1] for path in files if path in self._embedded}
        state = self._fit([item for item in items if item.path in embedded], embedded)
        labels = {item.path: label for item in items if (label := describe_labels(item.row, reader))}
        closed = {item.path for item in items if item.is_rejected or find_own_label(item.row, reader)}
        order, drawn = order_photographs(photographs, closed, embedded, state)
        return replace(state, missing=missing, order=order, drawn=drawn, labels=labels)

    def _read_row(self, row: Mapping[str, str], before: _Row | None) -> _Row:
        """Harmonize a row, and find its files, unless it is unchanged: stored files do not change."""
        if before is not None and before.row == row:
            return before
        harmonized = self._harmonizer.harmonize_row(row)
        return _Row(row, harmonized, self._find_files(row, harmonized))

    def _get_base(self, classes: tuple[str, ...]) -> AdaptationBase:
        if classes not in self._bases:
            self._bases[classes] = create_base(self.info, classes)
        return self._bases[classes]

    def _find_files(self, row: Mapping[str, str], harmonized: Mapping[str, str]) -> PhotographFiles | None:
        image = find_stored_file(self.corrections, find_image_path(self.corrections, dict(row)))
        if image is None:
            return None
        mask = find_stored_file(self.corrections, row.get("mask_path", ""))
        cells = tuple((name, value) for name in self.info.patient_data_columns if (value := harmonized.get(name)))
        return PhotographFiles(image, mask, cells)

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

    def _fit(self, items: Sequence[_Item], embedded: Mapping[Path, EmbeddedPhotograph]) -> LabelingState:
        config = self.info.config
        assert config.classifier is not None  # guaranteed by the check of the model
        positive, paths = config.classifier.positive, list(embedded)
        logits = np.array([embedded[path].logits for path in paths]).reshape(len(paths), len(config.classes))
        base = self._get_base(config.classes)
        shipped = _by_class(paths, config.classes, softmax(logits @ base.mix.T + base.offsets))
        state = LabelingState(self.info.name, positive, shipped=shipped)
        words = read_classes(
            config,
            {item.key: item.row for item in items},
            {item.key: item.harmonized for item in items},
            positive,
        )
        labeled = [item for item in items if item.key in words and not item.is_rejected]
        used = [item for item in labeled if embedded[item.path].pixels not in self._trained]
        is_skin = {i.path: not shows_no_skin(embedded[i.path].recognized, i.row.get("modality") or None) for i in used}
        state = replace(state, notice=_describe_left_out(items, labeled, used, is_skin))
        used = [item for item in used if is_skin[item.path]]
        if types := _describe_types(used, embedded):
            return replace(state, notice=SEVERAL_TYPES.format(counts=types))
        classes, labels = choose_classes(config, [words[item.key] for item in used], positive)
        index, groups = classes.index(positive), [get_group_id(dict(item.row)) for item in used]
        state = replace(state, counts=LabelCounts.of(labels, groups, index))
        if state.counts.describe_missing(positive):
            return state
        base, known = self._get_base(classes), [embedded[item.path] for item in used]
        cases = LabeledCases(
            np.stack([one.embedding for one in known]), np.stack([one.logits for one in known]), labels, groups
        )
        allowed = list_allowed_candidates(self.info, labels, index)
        candidate = LIVE_CANDIDATE if LIVE_CANDIDATE in allowed else RECALIBRATED
        folds = choose_case_folds(cases, classes, index)
        fit = LabelFit(base, cases, candidate, folds, np.array([item.is_drawn for item in used]), index)
        features = np.stack([embedded[path].embedding for path in paths])
        adapted = softmax(fit_candidate(base, cases, candidate).predict(logits, features))
        return replace(state, adapted=_by_class(paths, classes, adapted), accuracy=fit.estimate_accuracy(), fit=fit)


def _by_class(
    paths: Sequence[Path], classes: Sequence[str], values: NDArray[np.float64]
) -> dict[Path, Mapping[str, float]]:
    return {path: dict(zip(classes, row.tolist(), strict=True)) for path, row in zip(paths, values, strict=True)}


def _describe_left_out(
    items: Sequence[_Item], labeled: Sequence[_Item], used: Sequence[_Item], is_skin: Mapping[Path, bool]
) -> str:
    """Describe which labeled photographs are not used in the fit."""
    disputed = sum(has_disagreement(item.row) for item in items)
    unknown = sum(bool(item.row.get("diagnosis")) for item in items if not item.is_rejected) - len(labeled)
    reasons = {
        "with different diagnoses by readers": disputed,
        "whose diagnosis is not a class of the table of diagnoses": unknown,
        "that the model was trained on": len(labeled) - len(used),
        "that show no skin": sum(not is_lesion for is_lesion in is_skin.values()),
    }
    texts = [f"{format_count(count, 'photograph')} {why}" for why, count in reasons.items() if count > 0]
    return f"Left out: {', '.join(texts)}." if texts else ""


def _describe_types(used: Sequence[_Item], embedded: Mapping[Path, EmbeddedPhotograph]) -> str:
    """Return the numbers of photographs by type if there are several types; empty otherwise."""
    kinds = Counter(
        kind for i in used if (kind := certain_modality(embedded[i.path].recognized, i.row.get("modality") or None))
    )
    if not kinds or kinds.most_common()[0][1] >= (1 - MIXED_SHARE) * kinds.total():
        return ""
    return ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


# The labels of a row.


def find_own_label(row: Mapping[str, str], reader: str) -> str:
    """Return the diagnosis by a reader; empty if the reader has not labeled the photograph."""
    return next((label.diagnosis for label in read_diagnoses(row) if label.reader == reader), "")


def has_disagreement(row: Mapping[str, str]) -> bool:
    """Whether readers disagree, and no diagnosis was entered since."""
    return not row.get("diagnosis") and len({label.diagnosis for label in read_diagnoses(row)}) > 1


def describe_labels(row: Mapping[str, str], reader: str) -> str:
    """Describe the labels of a photograph for a reader, who sees the labels of others only after an own one."""
    labels = read_diagnoses(row)
    own = find_own_label(row, reader)
    if not labels:
        return row.get("diagnosis", "")
    if not own:
        others = ", ".join(sorted({label.reader or "another reader" for label in labels}))
        return f"labeled by {others}"
    others = ", ".join(f"{label.reader or 'before'}: {label.diagnosis}" for label in labels if label.reader != reader)
    return f"{own} ≠ {others}" if has_disagreement(row) else own


# The order.


def _draw_rank(path: Path) -> str:
    """Return the position of a photograph in the random order, which depends on its name alone."""
    return hashlib.sha256(path.name.encode()).hexdigest()


def _was_drawn(row: Mapping[str, str]) -> bool:
    return any(label.drawn == DRAWN for label in read_diagnoses(row))


def _find_frontier(photographs: Sequence[FolderPhotograph], rows: Mapping[str, Mapping[str, str]]) -> str:
    """Return the last drawn position in the random order.

    Photographs before it that were labeled for another reason are drawn as well: they are random, too.
    """
    drawn = (_draw_rank(one.path) for one in photographs if one.digest in rows and _was_drawn(rows[one.digest]))
    return max(drawn, default="")


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
    informative = sorted(waiting, key=lambda path: -scores.get(path, 0.0))
    random = sorted(waiting, key=_draw_rank)
    done = sum(one.path in closed for one in photographs)
    order: list[Path] = []
    drawn: set[Path] = set()
    taken: set[Path] = set()
    queues = iter(informative), iter(random)
    while len(order) < len(waiting):
        is_random = (done + len(order)) % RANDOM_EVERY == RANDOM_EVERY - 1
        path = next(path for path in queues[is_random] if path not in taken)
        taken.add(path)
        order.append(path)
        if is_random:
            drawn.add(path)
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
    return predicted_mask_path(Sample(image.stem, image, None, image.stem, "", DOMAIN), segmenter)


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
