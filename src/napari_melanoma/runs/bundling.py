"""The content of a new bundle: configuration, threshold or calibration, provenance and reference cases.

Also predicts the masks of a classification with ``masks = "predicted"``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import MelanomaError, TrainingDiverged
from napari_melanoma.core.paths import expand_user, real_path
from napari_melanoma.core.prediction_config import ClassifierConfig, DepthOutputConfig
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import Sample, read_datasets
from napari_melanoma.data.splits import TrainingSplit
from napari_melanoma.data.training_images import FILE_NAME, training_images_statement
from napari_melanoma.evaluation.model_card import draft_card
from napari_melanoma.imaging.modality import are_recognizable, own_type_probability, recognize_modality
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.agreement import conformal_margin, depth_to_mm
from napari_melanoma.metrics.calibration import Calibration, expected_calibration_error, fit_calibration, softmax
from napari_melanoma.metrics.out_of_distribution import (
    MIN_TRAINING_CASES,
    MahalanobisDetector,
    choose_distance_threshold,
)
from napari_melanoma.metrics.overlap import choose_best_setting, jaccard_by_threshold
from napari_melanoma.metrics.roc_curves import choose_operating_point
from napari_melanoma.models.blocks.options import BiomarkerConfig
from napari_melanoma.models.bundle import (
    SLIDE,
    BundleConfig,
    BundleInfo,
    ReferenceCases,
    choose_training_cases,
    make_texture_reference,
    name_plugin,
    number_groups,
    write_bundle,
)
from napari_melanoma.models.installed_bundles import find_bundle, require_photograph_model
from napari_melanoma.models.weights_files import START_WORDS
from napari_melanoma.models.zoo import find_encoder, list_architectures
from napari_melanoma.runs.resolved_settings import ResolvedSettings
from napari_melanoma.runs.starting_weights import ParentModel, describe_start, find_normalization
from napari_melanoma.training.data_preparation import PreparedData
from napari_melanoma.training.data_selection import predicted_mask_path
from napari_melanoma.training.loader import ClassBatch
from napari_melanoma.training.monitor import measure_validation_depths
from napari_melanoma.training.recipe import ClassificationConfig, TrainRecipe
from napari_melanoma.training.whole_slides import PreparedBags

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.data import DataLoader

    from napari_melanoma.training.tasks.classification import ClassificationTask
    from napari_melanoma.training.tasks.task import Task

THRESHOLDS = np.linspace(0.5, 1.0, 51)[:50]  # the fifty thresholds of P4; at 1 no pixel would be lesion
HALF_THRESHOLD = np.array([0.5])
REVIEWED = ("accepted", "corrected")
# Shares of the validation set within each limit for images that are out of distribution: together, about 1 of 27
# images is flagged. They and the margin were chosen on other collections.
KNOWN_EMBEDDINGS, KNOWN_TYPES = 0.98, 0.985
TYPE_LIMITS = (1e-3, 0.5)  # an image that is probably of the model's own type is never flagged for its type
SHIFT_MARGIN = 0.3  # share of the tolerated errors of prediction sets: 0.93 for a coverage of 0.9
DIVERGED = (
    "the outputs of the trained network are not finite numbers, for {bad} of {all} images: the training diverged. "
    'Start again with a lower learning_rate or precision = "fp32". The checkpoints of the run are kept.'
)
PHANTOM_NOTE, PARTLY_PHANTOM_NOTE = "phantom-trained, demonstration", "partly phantom-trained"


@dataclass(frozen=True)
class TrainedModel:
    """The content of a new bundle besides its network: configuration, reference cases and other files."""

    config: BundleConfig
    reference: ReferenceCases | None = None
    extra_files: tuple[Path, ...] = ()

    def with_image_list(self, folder: RunFolder) -> TrainedModel:
        """Add the list of training and validation images to the files, and its summary to the provenance."""
        file = folder.path / FILE_NAME
        if not file.is_file():
            return self
        provenance = {**self.config.provenance, **training_images_statement(file)}
        config = self.config.model_copy(update={"provenance": provenance})
        return replace(self, config=config, extra_files=(*self.extra_files, file))

    def write(self, path: Path, network: nn.Module) -> BundleInfo:
        card = draft_card(self.config)
        return write_bundle(path, self.config, network, card, reference=self.reference, extra_files=self.extra_files)


def create_bundle_config(recipe: TrainRecipe, prepared: PreparedData, resolved: ResolvedSettings) -> BundleConfig:
    """Create the configuration of a run's bundle, without the threshold."""
    parent = resolved.parent
    fields: dict[str, Any] = {**find_normalization(recipe, parent)}
    if resolved.continued_model:
        fields["threshold"] = resolved.continued_model.threshold
    if recipe.classes:
        fields["classes"] = recipe.classes
    options, data = recipe.classification, prepared.classes
    if options is not None and data is not None:
        classifier = ClassifierConfig(
            positive=options.positive,
            view=options.view,
            test_time_augmentation=options.test_time_augmentation,
            coverage=options.coverage,
        )
        fields |= {"task": "classification", "classes": data.names, "tabular": data.encoding, "classifier": classifier}
    tile, modalities = recipe.tile, recipe.modalities
    if isinstance(prepared, PreparedBags):
        tile, fields["encoder"] = prepared.kind.tile, prepared.kind.encoder
    if tile is not None and SLIDE not in modalities:
        modalities = (*modalities, SLIDE)
    for name in ("closer_views", "turned_views"):
        if getattr(recipe.model, name) is not None:
            fields[name] = getattr(recipe.model, name)
        elif resolved.continued_model and SLIDE not in modalities:
            fields[name] = getattr(resolved.continued_model, name)
    return BundleConfig(
        name=recipe.name,
        title=_model_title(recipe.title, [*prepared.samples.training, *prepared.replay_samples]),
        architecture=recipe.model.architecture,
        options=resolved.network_options,
        input_size=recipe.model.input_size,
        preprocessing=recipe.model.preprocessing,
        modalities=choose_modalities(modalities, [sample.modality for sample in prepared.samples.training]),
        tile=tile,
        plugin=name_plugin(recipe.model.architecture),
        licence=recipe.licence,
        provenance=_create_provenance(recipe, prepared, parent),
        **fields,
    )


def _model_title(title: str, training: Sequence[Sample]) -> str:
    """Return the title of a recipe, with a note if the model was trained on phantoms."""
    phantoms = sum(sample.synthetic for sample in training)
    if not phantoms or PHANTOM_NOTE in title:
        return title
    return f"{title}: {PHANTOM_NOTE}" if phantoms == len(training) else f"{title}: {PARTLY_PHANTOM_NOTE}"


def choose_modalities(named: Sequence[str], present: Sequence[str | None]) -> tuple[str, ...]:
    """Return the modalities of a model: those that its recipe names, then those of its training images.

    ``named``: by the recipe. ``present``: modality of each training image. Empty if the recipe names none and the
    modality of some training images is unknown: an incomplete list would cause wrong warnings about photographs.
    """
    if not named and None in present:
        return ()
    return tuple(dict.fromkeys([*named, *sorted(modality for modality in present if modality)]))


def choose_threshold(
    task: Task, loader: DataLoader, recipe: TrainRecipe, config: BundleConfig, run: RunContext
) -> BundleConfig:
    """Choose the threshold of a bundle by the rule of its recipe.

    ``task``: maps uint8 images (batch, 3, row, column) to logits (batch, 1, row, column). ``loader``: validation
    images. Returns the configuration with the threshold; its provenance contains the rule and the mean validation
    Jaccard index.
    """
    rule, previous = recipe.threshold_rule, config.threshold if config.provenance["parent"] else None
    thresholds = {
        "half": HALF_THRESHOLD,
        "best": THRESHOLDS,
        "steady": THRESHOLDS if previous is None else np.union1d(THRESHOLDS, [previous]),
    }[rule]
    curves = _jaccard_curves(task, loader, config.turned_views or 1, thresholds, run)
    previous_index = int(np.searchsorted(thresholds, previous)) if rule == "steady" and previous is not None else None
    best = choose_best_setting(curves, previous_index)
    facts = {"threshold_rule": rule, "validation_jaccard": round(float(curves[:, best].mean()), 4)}
    threshold = round(float(thresholds[best]), 12)  # 0.57, not 0.5700000000000001; a kept one is not changed
    return config.model_copy(update={"threshold": threshold, "provenance": {**config.provenance, **facts}})


def _jaccard_curves(
    task: Task, loader: DataLoader, views: int, thresholds: NDArray[np.float64], run: RunContext
) -> NDArray[np.float64]:
    """Compute the Jaccard index of each validation image at each threshold, (image, threshold).

    ``views``: number of views of an image whose logits are averaged.
    """
    import torch

    from napari_melanoma.models.blocks.test_time_augmentation import segment_views

    task.eval()
    curves = []
    with torch.inference_mode():
        for images, masks, _ in run.track(loader, "Choosing the threshold"):
            logits = segment_views(task, images.to(task.device), views).mean(1)
            probabilities = torch.sigmoid(logits)[:, 0].cpu().numpy()
            truths = (masks[:, 0] > 127).numpy()
            curves += [jaccard_by_threshold(p, t, thresholds) for p, t in zip(probabilities, truths, strict=True)]
    return np.array(curves)


def _create_provenance(recipe: TrainRecipe, prepared: PreparedData, parent: ParentModel | None) -> dict[str, Any]:
    """Return the provenance of a bundle: parent, data, recipe, software."""
    parts = prepared.samples
    training = [*parts.training, *prepared.replay_samples]
    counts = dict(sorted(Counter(sample.domain for sample in training).items()))
    return {
        "parent": {"name": parent.name, "fingerprint": parent.fingerprint} if parent and parent.part == "all" else None,
        "data": {
            "fingerprint": prepared.fingerprint,
            "train": len(parts.training),
            "replay": len(prepared.replay_samples),
            "validation": len(parts.validation),
            "test": len(parts.test),
            "domains": counts,
            "drawn": sum(sample.synthetic for sample in training),
        },
        "corrections": sum(sample.review in REVIEWED for sample in parts.training),
        "recipe": _without_folders(recipe),
        "train_images": counts,
        "validation_images": len(parts.validation),
        "validation_groups": len({sample.group for sample in parts.validation}),
        "seed": recipe.seed,
        "start": describe_start(recipe, parent),
        "epochs": recipe.epochs,
        "loss": recipe.loss,
        **collect_provenance(),
    }


def _without_folders(recipe: TrainRecipe) -> dict[str, Any]:
    """Dump a recipe with names of folders and files instead of paths."""
    values = recipe.model_dump(mode="json")
    for key in ("datasets", "replay"):
        values["data"][key] = [Path(name).name for name in values["data"][key]]
    if recipe.data.fold is not None:
        values["data"]["fold"]["table"] = Path(recipe.data.fold.table).name
    if recipe.model.start not in START_WORDS:
        values["model"]["start"] = Path(recipe.model.start).name
    if classification := values["classification"]:
        for key in ("segmenter", "features"):
            classification[key] = Path(classification[key]).name
        classification["adaptation"]["to"] = [Path(name).name for name in classification["adaptation"]["to"]]
    return values


def predict_masks(recipe: TrainRecipe, run: RunContext) -> int:
    """Predict the missing masks of a recipe with ``masks = "predicted"``; return their number."""
    options = recipe.classification
    if options is None or options.masks == "reference" or options.view.region == "photograph":
        return 0
    folders = [expand_user(name) for name in (*recipe.data.datasets, *options.adaptation.to)]
    samples = read_datasets({real_path(folder): folder for folder in folders}.values())  # one may be listed in both
    return predict_missing_masks(samples, find_bundle(options.segmenter), run)


def predict_missing_masks(samples: Iterable[Sample], bundle: BundleInfo, run: RunContext) -> int:
    """Predict the masks of images that have no file ``predicted_mask_path`` yet; return their number."""
    bundle = require_photograph_model(bundle, "segmentation")
    missing = {path: sample for sample in samples if not (path := predicted_mask_path(sample, bundle)).is_file()}
    if not missing:
        return 0
    from napari_melanoma.imaging.postprocessing import RefinementConfig, make_mask
    from napari_melanoma.io.results import write_mask
    from napari_melanoma.lesion.segmentation import Segmenter

    segmenter, refinement = Segmenter.load(bundle), RefinementConfig()
    for path in run.track(list(missing), "Segmenting lesions"):
        probability = segmenter.probability(read_photograph(missing[path].image).rgb)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_mask(path, make_mask(probability, bundle.config.threshold, refinement))
    return len(missing)


@dataclass(frozen=True, eq=False)
class NetworkOutputs:
    """Outputs of a network for images or slides, in their order; raises ``TrainingDiverged`` if they are not finite.

    ``logits``: float32 (image, class). ``labels``: int64 (image,), the true class. ``embeddings``: float32 (image,
    feature). ``predicted_depths``: float32 (image, 1 or 2), on the network's scale: depth and log variance.
    ``depth_mm``: float32 (image,), the measured depth, NaN if unknown.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    predicted_depths: NDArray[np.float32] | None = None
    depth_mm: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        outputs = (self.logits, self.embeddings, self.predicted_depths)
        is_invalid = ~np.all([np.isfinite(values).all(axis=1) for values in outputs if values is not None], axis=0)
        if is_invalid.any():
            raise TrainingDiverged(DIVERGED.format(bad=np.count_nonzero(is_invalid), all=len(is_invalid)))


def compute_outputs(
    task: ClassificationTask, batches: Iterable[ClassBatch], run: RunContext, message: str
) -> NetworkOutputs:
    """Compute logits, true classes, embeddings and depths for images."""
    import torch

    from napari_melanoma.models.blocks.test_time_augmentation import (
        classify_views,
        encode_views,
        predict_depth_of_views,
    )

    options = task.recipe.classification
    assert options is not None
    task.eval()
    outputs = []
    with torch.inference_mode():
        for batch in run.track(batches, message):
            images, continuous, categories = (
                tensor.to(task.device) for tensor in (batch.images, batch.continuous, batch.categories)
            )
            pixels, augmented = task.normalize(images), options.test_time_augmentation
            deepest, embedded = encode_views(task.network, pixels, augmented=augmented)
            logits = classify_views(task.network, deepest, continuous, categories)
            depths = predict_depth_of_views(task.network, deepest)
            depth_outputs = () if depths is None else (depths.float().cpu(), batch.depth_mm)
            outputs.append((logits.float().cpu(), batch.shares.argmax(1), embedded.float().cpu(), *depth_outputs))
    return NetworkOutputs(*(torch.cat(parts).numpy() for parts in zip(*outputs, strict=True)))


def adapt_normalization(task: ClassificationTask, batches: Iterable[Tensor]) -> None:
    """Measure the batch-normalization statistics of an encoder on the target domain.

    ``batches``: images of the target domain, uint8 (batch, 3, row, column), of the network's size.
    """
    from napari_melanoma.training.tasks.classification import update_batch_norm_statistics

    encoder = task.network.encoder
    update_batch_norm_statistics(encoder, ((task.normalize(images.to(task.device)),) for images in batches))


def calibrate_config(
    config: BundleConfig,
    options: ClassificationConfig,
    validation: NetworkOutputs,
    reference: ReferenceCases,
    own_types: NDArray[np.float64] | None = None,
) -> BundleConfig:
    """Calibrate a classifier on the validation set.

    ``reference``: includes the training embeddings for the out-of-distribution threshold. ``own_types``: from
    ``recognize_own_types``. Returns the configuration with temperature and bias, operating point, prevalence,
    out-of-distribution thresholds and depth error; its provenance contains the validation metrics.
    """
    distances = MahalanobisDetector.fit(reference.embeddings).distance(validation.embeddings)
    novelty = choose_distance_threshold(distances, KNOWN_EMBEDDINGS)
    config = fit_decisions(config, reference, options.sensitivity)
    values: dict[str, Any] = {"novelty_threshold": novelty, "depth": _evaluate_depth(config, options, validation)}
    if own_types is not None and len(own_types):
        values["type_threshold"] = choose_type_threshold(own_types)
    assert config.classifier is not None
    classifier = ClassifierConfig.model_validate({**config.classifier.model_dump(), **values})
    return config.model_copy(update={"classifier": classifier})


def choose_type_threshold(own_types: NDArray[np.float64]) -> float:
    """Choose the limit of the probability of the model's types, from that of known photographs, (photograph,)."""
    return float(np.clip(np.quantile(own_types, 1 - KNOWN_TYPES, method="lower"), *TYPE_LIMITS))


def recognize_own_types(
    samples: Sequence[Sample], modalities: Sequence[str], run: RunContext
) -> NDArray[np.float64] | None:
    """Recognize in each photograph how probable the modalities of a model are, float64 (photograph,).

    None if they cannot be recognized, as for slides. Photographs that cannot be read any more are left out.
    """
    if not are_recognizable(modalities):
        return None
    found = []
    for sample in run.track(samples, "Recognizing the types of photographs"):
        with suppress(MelanomaError, OSError):
            found.append(own_type_probability(recognize_modality(read_photograph(sample.image).rgb), modalities))
    return np.array(found, np.float64)


def fit_decisions(
    config: BundleConfig, reference: ReferenceCases, sensitivity: float, calibration: Calibration | None = None
) -> BundleConfig:
    """Fit temperature, bias, operating point and prevalence of a classifier to the logits of its reference cases.

    ``sensitivity``: target of the operating point. ``calibration``: None to fit temperature and bias. The provenance of
    the result contains the metrics of these cases.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    assert config.classifier is not None
    index = config.classes.index(config.classifier.positive)
    calibration = calibration or fit_calibration(reference.logits, reference.labels)
    probabilities = softmax(reference.logits, *calibration)
    scores, positive = probabilities[:, index], reference.labels == index
    has_both = 0 < positive.sum() < len(positive)
    values = {
        "temperature": calibration.temperature,
        "bias": calibration.bias,
        "operating_point": choose_operating_point(scores, positive, sensitivity, reference.groups)
        if has_both
        else None,
        "prevalence": float(positive.mean()) if has_both else None,
        "shift_margin": SHIFT_MARGIN,
    }
    measured = {
        "validation_auc": round(roc_auc_score(positive, scores), 4) if has_both else None,
        "validation_average_precision": round(average_precision_score(positive, scores), 4) if has_both else None,
        "validation_calibration_error": round(expected_calibration_error(scores, positive), 4),
    }
    classifier = ClassifierConfig.model_validate({**config.classifier.model_dump(), **values})
    return config.model_copy(update={"classifier": classifier, "provenance": {**config.provenance, **measured}})


def _evaluate_depth(
    config: BundleConfig, classification: ClassificationConfig, validation: NetworkOutputs
) -> DepthOutputConfig | None:
    if classification.depth is None or validation.predicted_depths is None or validation.depth_mm is None:
        return None
    options = list_architectures()[config.architecture].spec.config.parse(config.options, "options")
    scale, true = cast("BiomarkerConfig", options).depth_scale, validation.depth_mm.astype(np.float64)
    measured = measure_validation_depths(depth_to_mm(validation.predicted_depths[:, 0], scale), true)
    return DepthOutputConfig(
        column=classification.depth.column,
        scale=scale,
        images=int((~np.isnan(true)).sum()),
        mae_mm=measured.get("validation_depth_mae_mm"),
        pearson=measured.get("validation_depth_r"),
        margin=conformal_margin(validation.predicted_depths, true, scale, classification.coverage),
        coverage=classification.coverage,
    )


def create_reference(
    validation: NetworkOutputs, training: NetworkOutputs, parts: TrainingSplit, options: ClassificationConfig
) -> ReferenceCases:
    """Collect the reference cases of a bundle: all validation cases, and a selection of the training cases.

    Patients are replaced by numbers.
    """
    chosen = choose_training_cases(training.labels)
    return ReferenceCases(
        logits=validation.logits,
        labels=validation.labels,
        groups=number_groups([sample.group for sample in parts.validation]),
        embeddings=training.embeddings[chosen].astype(np.float16),
        embedded_labels=training.labels[chosen],
        embedded_ids=tuple(parts.training[index].image_id for index in chosen) if options.neighbours else (),
    )


def add_textures(
    model: TrainedModel, task: Task, training: Iterable, validation: Iterable, run: RunContext
) -> TrainedModel:
    """Add texture features of training tiles to the reference cases, and the out-of-distribution threshold.

    ``training``, ``validation``: batches without augmentation, whose first element is uint8 images (batch, 3, row,
    column). Returns the model unchanged if the network has no encoder, or there are too few tiles.
    """
    encoder = find_encoder(task.network)
    if encoder is None:
        return model
    task.eval()
    textures, validation_textures = (
        _compute_textures(task, encoder, batches, run) for batches in (training, validation)
    )
    if len(textures) < MIN_TRAINING_CASES:
        return model
    stored = textures[choose_training_cases(np.zeros(len(textures), np.int64))].astype(np.float16)
    limit = choose_distance_threshold(MahalanobisDetector.fit(stored).distance(validation_textures))
    reference = model.reference
    reference = (
        replace(reference, textures=stored) if reference else make_texture_reference(stored, len(model.config.classes))
    )
    return replace(model, config=model.config.model_copy(update={"novelty_threshold": limit}), reference=reference)


def _compute_textures(task: Task, encoder: nn.Module, batches: Iterable, run: RunContext) -> NDArray[np.float32]:
    """Compute the texture features of each image, float32 (image, feature)."""
    import torch

    from napari_melanoma.models.blocks.timm_encoder import texture_features

    textures = []
    with torch.inference_mode():
        for batch in run.track(batches, "Storing texture features"):
            images = batch[0].to(task.device)
            textures.append(texture_features(encoder(task.normalize(images)), images.shape[-1]).cpu().numpy())
    return np.concatenate(textures)
