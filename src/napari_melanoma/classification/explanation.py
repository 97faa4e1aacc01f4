"""Explanation of predictions by heatmaps, and their evaluation with the pointing game.

The pointing game counts how often the maximum of a heatmap lies in the structure of an image that is decisive for the
class, which masks mark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.classification.prediction import METHODS, Method
from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.packages import NETWORK_PACKAGES, require_packages
from napari_melanoma.core.paths import id_to_file_name
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.data.dataset import Sample, check_distinct_datasets, read_dataset, select_trainable
from napari_melanoma.imaging.preprocessing import VIEWS, ClassifierView, turn_back
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import POINTING_FILES, read_mask, write_table
from napari_melanoma.metrics.calibration import class_log_odds
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean
from napari_melanoma.models import CATEGORIES, CONTINUOUS, IMAGE, LOGITS
from napari_melanoma.models.inference import normalize_images

if TYPE_CHECKING:
    from torch import Tensor

    from napari_melanoma.classification.explanation_networks import ClassLogOdds

GRADIENT_PACKAGES = (*NETWORK_PACKAGES, "captum")
ATTENTION = "attention"  # for networks with spatial attention, independent of the prediction
STEPS = 32  # of integrated gradients, from the baseline to the view
BATCH_IMAGES = 8  # views per batch
PATCHES_PER_SIDE = 8  # occluded patches have an eighth of the view's side
# Integrated gradients are smoothed by a 64th of the view's side, because single pixels are not visible.
SMOOTHING_FRACTION = 64
RIM_FRACTION = 16  # baselines have the color of the outermost 16th of the view
TOLERANCE = 1 / 32  # share of the longer side of an image: half a position of a 16 x 16 map
COLUMNS = ("image_id", "domain", "method", "hit", "distance_px", "row", "column", "by_chance")


@dataclass(frozen=True)
class Explained:
    """What a method explains.

    ``table``: clinical metadata, from ``Classifier.table_inputs``. ``target``: index of the class.
    """

    classifier: Classifier
    view: ClassifierView
    table: Mapping[str, NDArray[Any]]
    target: int
    run: RunContext

    def normalize(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the input of the network for an image, float32 (1, channel, row, column)."""
        return normalize_images([image], self.classifier.info.config)

    def log_odds(self, images: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the log odds of the class, float64 (batch,), of normalized images (batch, channel, row, column)."""
        self.run.check()
        network = self.classifier.network
        deepest = network.run("encode", **{IMAGE: images})["deepest"]
        table = {name: np.repeat(values, len(images), axis=0) for name, values in self.table.items()}
        return class_log_odds(network.run("classify", deepest=deepest, **table)[LOGITS], self.target)


class PointingResult(NamedTuple):
    """The maximum of a heatmap, and whether it is a hit.

    ``place``: row and column of the maximum; None for a constant map. ``distance_px``: its distance from the structure,
    0 inside. ``hit``: whether this is within the tolerance. ``by_chance``: share of the image within the tolerance.
    """

    place: tuple[int, int] | None
    distance_px: float
    hit: bool
    by_chance: float


class PointingGame(NamedTuple):
    """The share of images with a hit, and the expected share for random positions (``by_chance``)."""

    share: Estimate
    by_chance: float


def explain(
    classifier: Classifier,
    lesion: LesionInput,
    method: Method | Literal["attention"] = "cam",
    target_class: str | None = None,
    run: RunContext | None = None,
) -> NDArray[np.float32]:
    """Compute a heatmap of the evidence for a class.

    It explains the log odds of the class against the others, with test-time augmentation those of the mean over the
    views, of which the evidence is turned back and averaged. Evidence against the class is omitted. Methods:

    ``grad_cam``: the channels of the deepest map, weighted by their gradient (Selvaraju et al. 2017,
    doi:10.1109/ICCV.2017.74); for a network with a depth module, the channels of the image only.

    ``cam``: the output of the head for each single position of the deepest map, minus that of an empty position; for a
    linear head this is the map of Zhou et al. 2016 (doi:10.1109/CVPR.2016.319).

    ``occlusion``: the decrease if a patch is covered (Zeiler and Fergus 2014, doi:10.1007/978-3-319-10590-1_53).

    ``integrated_gradients``: along a path from a view of one color (Sundararajan et al. 2017, arXiv:1703.01365),
    smoothed.

    ``attention``: the weights of a network with spatial attention, minus their minimum. They do not depend on class and
    clinical metadata.

    Occluded patches and the view of one color have the color of the rim of the view. ``grad_cam`` and
    ``integrated_gradients`` need gradients, for which torch is loaded; captum computes them.

    Returns float32 (row, column) in [0, 1], of the photograph's size. The maximum is 1; values are zero outside the
    view, and everywhere if there is no evidence for the class.
    """
    heat, box = compute_positive_evidence(classifier, lesion, method, target_class, run or RunContext())
    strongest = float(heat.max(initial=0.0))
    heat = heat / strongest if strongest > 0 else heat
    return place_in_photograph(heat.astype(np.float32), box, (lesion.rgb.shape[0], lesion.rgb.shape[1]))


def compute_positive_evidence(
    classifier: Classifier, lesion: LesionInput, method: str, target_class: str | None, run: RunContext
) -> tuple[NDArray[np.float32], Box]:
    """Compute the evidence for a class, by default the positive one, without that against it, and its box in the image.

    Unlike the heatmaps of ``explain``, those of several images have the same scale.
    """
    check_method(classifier, method)
    classes = classifier.info.config.classes
    class_name = target_class or classifier.config.positive
    if class_name not in classes:
        raise InputError(f"'{classifier.info.name}' has no class '{class_name}' (available: {', '.join(classes)}).")
    view = classifier.make_view(lesion.rgb, lesion.mask)
    evidence = compute_evidence(classifier, view, lesion.row, method, classes.index(class_name), run)
    return np.maximum(evidence, 0.0), view.box


def check_method(classifier: Classifier, method: str) -> None:
    """Raise an error if a model does not have an explanation method."""
    methods = explanation_methods(classifier)
    if method not in methods:
        raise InputError(
            f"'{classifier.info.name}' has no explanation method '{method}' (available: {', '.join(methods)})."
        )


def explanation_methods(classifier: Classifier) -> tuple[str, ...]:
    """Return the explanation methods of a model: ``METHODS``, and ``attention`` for networks with spatial attention."""
    return (*METHODS, ATTENTION) if ATTENTION in classifier.network.functions else METHODS


def compute_evidence(
    classifier: Classifier, view: ClassifierView, row: Mapping[str, object], method: str, target: int, run: RunContext
) -> NDArray[np.float32]:
    """Compute the signed evidence for a class in a view; positive values support the class.

    For the method ``attention``, the evidence is the attention weights.

    ``row``: clinical metadata. ``target``: index of the class. Returns float32 (row, column), of the view's size.
    """
    functions: dict[str, Callable[[Explained], NDArray[np.float32]]] = {
        ATTENTION: _attention,
        "grad_cam": _grad_cam,
        "cam": _cam,
        "occlusion": _occlusion,
        "integrated_gradients": _integrated_gradients,
    }
    run.report(Progress(0, None, "Preparing the explanation"))
    evidence = functions[method](Explained(classifier, view, classifier.table_inputs(row), target, run))
    if evidence.ndim == 2:
        return evidence
    side, offset = view.image.shape[0], classifier.view_offset
    maps = zip(evidence, VIEWS[: len(evidence)], strict=True)
    return np.mean([turn_back(upsample_map(coarse, side, offset), turned) for coarse, turned in maps], axis=0)


def upsample_map(coarse: NDArray[np.float32], side: int, offset: float) -> NDArray[np.float32]:
    """Interpolate the deepest map to the size of the view, with each value at the center of its receptive field.

    ``coarse``: float32 (row, column) of the map. ``side``: side of the view in pixels. ``offset``: offset of the
    receptive fields from the centers of their cells, in pixels of the view. Returns float32 (side, side), constant
    beyond the outermost positions.
    """
    weights = []
    for count in coarse.shape:
        stride = side / count
        centers = (np.arange(count) + 0.5) * stride - 0.5 + offset
        weights.append(np.stack([np.interp(np.arange(side), centers, unit) for unit in np.eye(count)], axis=1))
    return (weights[0] @ coarse @ weights[1].T).astype(np.float32)


def place_in_photograph(heat: NDArray[np.float32], box: Box, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Place the map of a view at its position in the photograph.

    ``heat``: float32 (row, column) of any size, which covers the whole box. ``shape``: height and width of the
    photograph. Returns float32 (row, column), zero outside the box.
    """
    from PIL import Image

    resized = np.asarray(Image.fromarray(heat).resize((box.width, box.height), Image.Resampling.BILINEAR), np.float32)
    placed = np.zeros(shape, np.float32)
    top, left = max(0, box.top), max(0, box.left)
    visible = resized[top - box.top :, left - box.left :][: shape[0] - top, : shape[1] - left]
    placed[top : top + visible.shape[0], left : left + visible.shape[1]] = visible
    return placed


def _cover_view(view: ClassifierView) -> NDArray[np.uint8]:
    """Return a view of one color: the median of the pixels at the rim."""
    image = view.image
    width = max(1, image.shape[0] // RIM_FRACTION)
    rim = np.ones(image.shape[:2], bool)
    rim[width:-width, width:-width] = False
    return np.broadcast_to(np.median(image[rim], axis=0).astype(np.uint8), image.shape).copy()


def _cam(explained: Explained) -> NDArray[np.float32]:
    """Return the output of the head for each position, minus that of an empty one, (view, row, column) of the maps."""
    network = explained.classifier.network
    deepest = network.run("encode", **{IMAGE: explained.normalize(explained.view.image)})["deepest"]
    logits = network.run("classify_positions", deepest=deepest, **explained.table)[LOGITS]
    *positions, empty = class_log_odds(logits, explained.target)
    return (np.array(positions) - empty).reshape(-1, *deepest.shape[3:]).astype(np.float32)


def _attention(explained: Explained) -> NDArray[np.float32]:
    """Return the attention weights minus their minimum, (view, row, column) of the maps."""
    image = explained.normalize(explained.view.image)
    weights = explained.classifier.network.run("attention", **{IMAGE: image})["attention"][0]
    return weights - weights.min()


def _occlusion(explained: Explained) -> NDArray[np.float32]:
    """Return the decrease if a patch is covered, averaged over the patches of each pixel, (row, column) of the view."""
    image, cover = (explained.normalize(pixels) for pixels in (explained.view.image, _cover_view(explained.view)))
    side = image.shape[-1]
    patch_side = max(1, side // PATCHES_PER_SIDE)
    step = max(1, patch_side // 2)
    slices = [slice(start, start + patch_side) for start in range(0, side - patch_side + step, step)]
    patches = list(product(slices, slices))
    whole = explained.log_odds(image)[0]
    decrease, count = np.zeros((2, side, side))
    for first in range(0, len(patches), BATCH_IMAGES):
        covered = patches[first : first + BATCH_IMAGES]
        images = np.repeat(image, len(covered), axis=0)
        for pixels, patch in zip(images, covered, strict=True):
            pixels[:, *patch] = cover[0][:, *patch]
        for patch, log_odds in zip(covered, explained.log_odds(images), strict=True):
            decrease[patch] += whole - log_odds
            count[patch] += 1
        explained.run.report(Progress(first + len(covered), len(patches), "Preparing the explanation"))
    return (decrease / count).astype(np.float32)


def _grad_cam(explained: Explained) -> NDArray[np.float32]:
    """Return Grad-CAM at the deepest map, (view, row, column) of the maps."""
    log_odds = _differentiable_log_odds(explained)
    from captum.attr import LayerGradCam

    (image,) = _to_tensors(explained, explained.view.image)
    channels = LayerGradCam(log_odds, log_odds.deepest).attribute(image, attr_dim_summation=False)
    channels *= len(channels)  # the log odds are a mean over the views
    image_channels = log_odds.network.image_maps  # further channels belong to other outputs, such as depth
    evidence = channels[:, :image_channels].sum(dim=1) if image_channels else channels.sum(dim=1)
    return _to_numpy(evidence)


def _integrated_gradients(explained: Explained) -> NDArray[np.float32]:
    """Return integrated gradients, summed over the channels and smoothed, (row, column) of the view."""
    log_odds = _differentiable_log_odds(explained)
    from captum.attr import IntegratedGradients
    from torchvision.transforms.functional import gaussian_blur

    image, cover = _to_tensors(explained, explained.view.image, _cover_view(explained.view))
    log_odds.set_view_count(STEPS)
    batch = 1 if log_odds.augmented else BATCH_IMAGES  # of which each has eight views
    gradients = IntegratedGradients(log_odds).attribute(image, cover, n_steps=STEPS, internal_batch_size=batch)
    sigma = max(image.shape[-1] / SMOOTHING_FRACTION, 0.5)
    kernel_px = 2 * round(3 * sigma) + 1
    smooth = gaussian_blur(gradients.sum(dim=1, keepdim=True), [kernel_px, kernel_px], [sigma, sigma])[0, 0]
    return _to_numpy(smooth)


def _differentiable_log_odds(explained: Explained) -> ClassLogOdds:
    """Return the log odds of the class as a function with gradients; raise an error if its packages are missing."""
    require_packages("a heatmap by gradients of the network", GRADIENT_PACKAGES, "use the method cam or occlusion")
    import torch

    from napari_melanoma.classification.explanation_networks import ClassLogOdds

    classifier = explained.classifier
    continuous, categories = (
        torch.from_numpy(explained.table[name]).to(classifier.device) for name in (CONTINUOUS, CATEGORIES)
    )
    augmented, table = classifier.config.test_time_augmentation, (continuous, categories)
    return ClassLogOdds(classifier.torch_network, table, explained.target, explained.run, augmented=augmented)


def _to_tensors(explained: Explained, *images: NDArray[np.uint8]) -> tuple[Tensor, ...]:
    from napari_melanoma.models.inference import to_tensor

    classifier = explained.classifier
    return tuple(to_tensor([image], classifier.info.config, classifier.device) for image in images)


def _to_numpy(evidence: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = evidence.detach().float().cpu().numpy()
    return values


SegmentLesion = Callable[[NDArray[np.uint8]], NDArray[np.bool_]]  # from a photograph to the mask of its lesion
SelectSamples = Callable[[Sequence[Sample]], Sequence[Sample]]


@dataclass(frozen=True)
class PointingOptions:
    """Options of the pointing game.

    ``split``: None for all images. ``masks``: folder with PNG masks of the decisive structure, named like the images;
    None: the masks of the data set. ``tolerance``: distance of a hit from the structure, as a share of the longer side
    of the image. ``target``: the explained class; "" for the positive class.
    """

    methods: tuple[str, ...] = ("cam",)
    split: str | None = None
    masks: Path | None = None
    tolerance: float = TOLERANCE
    target: str = ""


def run_pointing_game(
    classifier: Classifier,
    datasets: Sequence[Path],
    out: Path,
    options: PointingOptions,
    *,
    segment: SegmentLesion | None = None,
    select: SelectSamples = list,
    run: RunContext,
) -> dict[str, PointingGame]:
    """Play the pointing game on all images that show the structure.

    The view of the classifier follows from the mask of the lesion, never from that of the structure. ``segment``:
    predicts the mask of the lesion; by default it is that of the data set. ``select``: returns those of the images that
    are measured; by default all.

    Writes ``pointing.csv`` and ``pointing.json`` to ``out``. Returns the results by method.
    """
    from napari_melanoma.training.data_selection import read_rows_with

    check_distinct_datasets(datasets)
    results: dict[str, list[PointingResult]] = {method: [] for method in options.methods}
    rows, groups = list[dict[str, object]](), list[str]()
    tables = read_rows_with(datasets, {*classifier.info.patient_data_columns})
    found = {sample.key: (sample, mask) for sample, mask in _pointing_samples(datasets, options)}
    measured = [found[sample.key] for sample in select([sample for sample, _ in found.values()])]
    for sample, mask in run.track(measured, "Preparing heatmaps"):
        rgb, structure = read_photograph(sample.image).rgb, read_mask(mask)
        if not structure.any():
            continue
        _check_shape(sample, structure, rgb)
        lesion = LesionInput(rgb, _find_lesion(classifier, sample, rgb, segment), tables.get(sample.key, {}))
        groups.append(str(sample.group))
        for method in options.methods:
            heat = explain(classifier, lesion, method, options.target or None, run)  # type: ignore[arg-type]
            results[method].append(score_pointing(heat, structure, options.tolerance * max(structure.shape)))
            rows.append(_row(sample, method, results[method][-1]))
    if not groups:
        raise InputError(
            "all masks of the structure are empty or missing, so there is nothing to point at. Select the folder with "
            "the masks of the decisive structure: --pointing-masks."
        )
    games = {method: summarize_pointing(hits, groups) for method, hits in results.items()}
    table, summary = POINTING_FILES
    write_table(out / table, rows, COLUMNS)
    write_json(out / summary, _game_summary(classifier, games, options))
    return games


def _check_shape(sample: Sample, mask: NDArray[np.bool_], rgb: NDArray[np.uint8]) -> None:
    if mask.shape != rgb.shape[:2]:
        raise InputError(
            f"the mask of '{sample.image_id}' has {mask.shape[0]} x {mask.shape[1]} pixels, but the "
            f"image {rgb.shape[0]} x {rgb.shape[1]}. Select the masks of these images."
        )


def _find_lesion(
    classifier: Classifier, sample: Sample, rgb: NDArray[np.uint8], segment: SegmentLesion | None
) -> NDArray[np.bool_] | None:
    """Return the mask of the lesion, bool (row, column); None for a classifier of whole photographs without one."""
    if segment is not None:
        return segment(rgb)
    if sample.mask is not None:
        mask = read_mask(sample.mask)
        _check_shape(sample, mask, rgb)
        return mask
    if classifier.config.view.region != "photograph":
        raise InputError(
            f"'{sample.image_id}' has no mask of the lesion, around which the view of '{classifier.info.name}' is "
            "cropped. Add masks of the lesions to the data set, or predict them: --masks predicted."
        )
    return None


def _pointing_samples(datasets: Sequence[Path], options: PointingOptions) -> Iterator[tuple[Sample, Path]]:
    """Yield the images of the split with the files of their masks.

    Raise an error if two images share a file of ``options.masks``: ids may be equal, or differ only in case.
    """
    samples_by_file: dict[tuple[int, int], Sample] = {}
    for folder in datasets:
        samples = read_dataset(folder)
        for sample in select_trainable(samples) if options.masks is None else samples:
            mask = sample.mask if options.masks is None else options.masks / f"{id_to_file_name(sample.image_id)}.png"
            usable = options.split in (None, sample.split) and sample.review != "rejected"
            if usable and mask is not None and mask.is_file():
                status = mask.stat()
                other = samples_by_file.setdefault((status.st_dev, status.st_ino), sample)
                if options.masks is not None and other is not sample:
                    raise InputError(
                        f"{mask} would be the mask of both '{other.full_name}' and '{sample.full_name}'. Evaluate the "
                        "data sets one by one, or give each image an id of its own."
                    )
                yield sample, mask


def _row(sample: Sample, method: str, result: PointingResult) -> dict[str, object]:
    """Return a row of ``pointing.csv``."""
    row, column = result.place or ("", "")
    values = {"image_id": sample.image_id, "domain": sample.domain, "method": method, "hit": int(result.hit)}
    distance = "" if result.place is None else round(result.distance_px, 2)
    return {**values, "distance_px": distance, "row": row, "column": column, "by_chance": round(result.by_chance, 4)}


def _game_summary(
    classifier: Classifier, games: Mapping[str, PointingGame], options: PointingOptions
) -> dict[str, object]:
    """Return the content of ``pointing.json``."""
    return {
        "model": {"name": classifier.info.name, "fingerprint": classifier.info.fingerprint},
        "class": options.target or classifier.config.positive,
        "split": options.split,
        "tolerance": options.tolerance,
        "methods": {method: {"hits": vars(game.share), "by_chance": game.by_chance} for method, game in games.items()},
        "provenance": collect_provenance(),
    }


def score_pointing(heat: NDArray[np.floating], mask: NDArray[np.bool_], tolerance_px: float = 0.0) -> PointingResult:
    """Score the maximum of a heatmap (Zhang et al. 2018, doi:10.1007/s11263-017-1059-x).

    If several positions share the maximum, the one nearest to their center is used. A constant map is not a hit.

    ``heat``: float (row, column). ``mask``: bool (row, column), the structure, not empty.
    """
    from scipy.ndimage import distance_transform_edt

    if heat.shape != mask.shape or not mask.any():
        raise ValueError(f"expected a mask of shape {heat.shape} that is not empty, found {mask.shape}.")
    distance = distance_transform_edt(~mask)
    chance = float((distance <= tolerance_px).mean())
    if heat.max() == heat.min():
        return PointingResult(None, float("nan"), False, chance)
    strongest = np.argwhere(heat == heat.max())
    nearest = int(np.hypot(*(strongest - strongest.mean(axis=0)).T).argmin())
    row, column = (int(index) for index in strongest[nearest])
    return PointingResult(
        (row, column), float(distance[row, column]), bool(distance[row, column] <= tolerance_px), chance
    )


def summarize_pointing(results: Sequence[PointingResult], groups: Sequence[str]) -> PointingGame:
    """Compute the share of hits with its interval.

    ``groups``: the patient or lesion of each result.
    """
    share = bootstrap_mean([float(result.hit) for result in results], list(groups), bounds=(0, 1))
    return PointingGame(share, float(np.mean([result.by_chance for result in results])))
