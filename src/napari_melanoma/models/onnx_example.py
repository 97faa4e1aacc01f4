"""Reproduce the results of napari-melanoma with an exported model; needs numpy, Pillow and onnxruntime only.

    python example.py lesion.onnx photo.jpg --out mask.png
    python example.py melanoma.onnx photo.jpg --mask mask.png --set age=54 --set sex=female

Research use only; not for diagnosis. The first command writes the mask of the lesion, the second prints the probability
of each class. What the file of the model contains: normalization, mean over turned and mirrored images, temperature and
bias. What this file adds: reading the photograph, leaving out black around it, closer views, the crop, resizing,
smoothing and the choice of the lesion. Values of --set must have the words of the harmonized table, such as the site
'posterior torso'.
"""

import argparse
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

SMOOTHING = 0.004  # sigma of the Gaussian, as a share of the shorter side of the photograph
MAX_DEVIATIONS = 10.0  # of a number in the patient data
MIN_VIEW_PX = 48  # side of the smallest closer view
MAX_VIEW_SHARE = 0.9  # of the shorter side of the photograph, from which there is no closer view
BLACK = 20  # of 255, brightest channel of a pixel of a black frame
FRAME_SHARE = 0.02  # of the pixels of a line of a frame, which may be brighter
MIN_SIDE_SHARE = 0.25  # of the photograph, that a frame leaves
SRGB_TOLERANCE = 1  # difference below which a color profile is that of sRGB


def load_model(path: str | Path) -> tuple[onnxruntime.InferenceSession, dict[str, Any]]:
    """Load a file written by 'napari-melanoma models export', and its configuration."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    config = json.loads(session.get_modelmeta().custom_metadata_map.get("config.json", "{}"))
    if "export" not in config:
        raise SystemExit(f"{path} was exported by an earlier version. Export the model again.")
    steps = config["preprocessing"]
    if steps["remove_hair"] or steps["color_constancy"] or steps["stain"] != "none":
        raise SystemExit("This model removes hair or corrects colors, which this example does not reproduce.")
    return session, config


def read_photograph(path: str | Path) -> NDArray[np.uint8]:
    """Read an image of 8 bits upright, in sRGB, over white: uint8 (row, column, 3)."""
    with Image.open(path) as file:
        if file.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
            raise SystemExit(f"{path} has the color mode {file.mode}. Convert it to 8-bit RGB.")
        profile = file.info.get("icc_profile")
        image = ImageOps.exif_transpose(file)
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    rgb = image.convert("RGB")
    if profile:
        rgb = convert_to_srgb(rgb, profile)
    if alpha is not None:
        rgb = Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha)
    return np.asarray(rgb)


def convert_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Apply a color profile, unless it is sRGB itself or cannot be applied."""
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            "RGB",
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        steps = np.arange(0, 256, 51, dtype=np.uint8)
        cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(len(steps), -1, 3)
        converted = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform))
        if np.abs(converted.astype(int) - cube).max() <= SRGB_TOLERANCE:
            return image
        return ImageCms.applyTransform(image, transform) or image
    except (ImageCms.PyCMSError, OSError):
        return image


def resize(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Resize to the square of the network, bilinear and antialiased, without keeping the aspect ratio."""
    if rgb.shape[:2] == (side, side):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))


def find_picture(rgb: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rows and columns inside a black frame, whose lines are black from end to end."""
    black = rgb.max(axis=2) < BLACK
    parts = []
    for axis in (1, 0):
        bright = np.flatnonzero((~black).mean(axis=axis) > FRAME_SHARE)
        parts.append(slice(int(bright[0]), int(bright[-1]) + 1) if len(bright) else slice(0, 0))
    rows, columns = parts
    least = [MIN_SIDE_SHARE * side for side in black.shape]
    is_enough = rows.stop - rows.start >= least[0] and columns.stop - columns.start >= least[1]
    return (rows, columns) if is_enough else (slice(0, black.shape[0]), slice(0, black.shape[1]))


def lesion_probability(
    session: onnxruntime.InferenceSession, config: dict[str, Any], rgb: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return the lesion probability of each pixel, float32 (row, column); 0 in the black around the picture.

    The logits are averaged over the picture and the closer views, each of which is inside the one before.
    """
    picture, probability = find_picture(rgb), np.zeros(rgb.shape[:2], np.float32)
    rgb = rgb[picture]
    logits = run_network(session, config, rgb)
    average = enlarge(logits, rgb.shape)
    for count, view in enumerate(closer_views(config, logits, rgb.shape), start=2):
        part = average[view]
        part += (enlarge(run_network(session, config, rgb[view]), part.shape) - part) / count
    probability[picture] = 1 / (1 + np.exp(np.clip(-average, -30, 30)))
    return probability


def run_network(
    session: onnxruntime.InferenceSession, config: dict[str, Any], rgb: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return the logits of a view, float32 (side, side)."""
    (logits,) = session.run(None, {"image": resize(rgb, config["input_size"])[None]})
    if logits.shape[1] != 1:
        raise SystemExit("This model segments several classes, which this example does not reproduce.")
    return logits[0, 0]


def enlarge(logits: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Interpolate logits to the rows and columns of a view."""
    return np.array(Image.fromarray(logits).resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def closer_views(
    config: dict[str, Any], logits: NDArray[np.float32], shape: tuple[int, ...]
) -> list[tuple[slice, slice]]:
    """Return the squares around the largest lesion that are predicted, too, the largest first."""
    odds = config["threshold"] / (1 - config["threshold"])
    lesion = select_largest(logits >= np.log(odds))
    factors = config.get("closer_views", [])
    if not factors or not lesion.any():
        return []
    spans = [np.flatnonzero(lesion.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    scales = [shape[axis] / logits.shape[axis] for axis in (0, 1)]
    longer = max(scale * (last + 1 - first) for scale, (first, last) in zip(scales, spans, strict=True))
    views = {}
    for factor in reversed(factors):
        side = max(MIN_VIEW_PX, round(factor * longer))
        if side < MAX_VIEW_SHARE * min(shape[:2]):
            middles = [scale * (first + last + 1) / 2 for scale, (first, last) in zip(scales, spans, strict=True)]
            starts = [round(middle - side / 2) for middle in middles]
            top, left = (min(max(0, start), shape[axis] - side) for axis, start in enumerate(starts))
            views[top, left, side] = slice(top, top + side), slice(left, left + side)
    return list(views.values())


def lesion_mask(probability: NDArray[np.float32], threshold: float) -> NDArray[np.bool_]:
    """Smooth, threshold, fill holes and keep the largest lesion, as the product does by default."""
    return select_largest(smooth(probability) >= threshold)


def select_largest(above: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Fill holes and keep the largest part of a mask."""
    outside = label_components(np.pad(~above, 1, constant_values=True), diagonal=False)
    filled = (outside != outside[0, 0])[1:-1, 1:-1]
    labels = label_components(filled, diagonal=True)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    return (labels == areas.argmax()) & filled


def smooth(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth with a Gaussian; a wide one on a grid of two pixels per sigma."""
    rows, columns = probability.shape
    sigma = SMOOTHING * min(rows, columns)
    step = sigma / 2
    if step <= 1:
        return np.clip(blur(probability, sigma), 0, 1)
    grid = (max(1, round(columns / step)), max(1, round(rows / step)))
    small = np.asarray(Image.fromarray(probability).resize(grid, Image.Resampling.BILINEAR))
    blurred = blur(small, ((sigma / step) ** 2 - 1 / 6) ** 0.5)
    return np.clip(np.asarray(Image.fromarray(blurred).resize((columns, rows), Image.Resampling.BICUBIC)), 0, 1)


def blur(values: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Convolve with a Gaussian of three sigmas, with the border repeated."""
    radius = int(3 * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    for axis in (0, 1):
        pad = [(radius, radius) if axis == other else (0, 0) for other in (0, 1)]
        padded = np.moveaxis(np.pad(values.astype(float), pad, mode="edge"), axis, 0)
        length = values.shape[axis]
        parts = [weight * padded[start : start + length] for start, weight in enumerate(weights)]
        values = np.moveaxis(np.sum(parts, axis=0), 0, axis).astype(np.float32)
    return values


def label_components(mask: NDArray[np.bool_], *, diagonal: bool) -> NDArray[np.intp]:
    """Number the connected parts of a mask from 1; ``diagonal``: whether pixels that touch at a corner belong together.

    Works on the horizontal runs of pixels: runs of adjacent rows that touch get the same root.
    """
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    rows, starts = np.nonzero(edges == 1)
    ends = np.nonzero(edges == -1)[1]
    parents = list(range(len(rows)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = run = parents[parents[run]]
        return run

    first = np.searchsorted(rows, np.arange(mask.shape[0] + 1))
    for row in range(1, mask.shape[0]):
        above, below = int(first[row - 1]), int(first[row])
        while above < first[row] and below < first[row + 1]:
            if starts[above] < ends[below] + diagonal and starts[below] < ends[above] + diagonal:
                one, other = sorted((root(above), root(below)))
                parents[other] = one
            if ends[above] < ends[below]:
                above += 1
            else:
                below += 1
    labels = np.zeros(mask.shape, np.intp)
    numbers = np.unique([root(run) for run in range(len(rows))], return_inverse=True)[1] + 1
    for run, number in enumerate(numbers):
        labels[rows[run], starts[run] : ends[run]] = number
    return labels


def crop_lesion(rgb: NDArray[np.uint8], mask: NDArray[np.bool_], config: dict[str, Any]) -> NDArray[np.uint8]:
    """Return the view of a classifier: the square around the lesion, or the whole photograph."""
    side, view = config["input_size"], config["classifier"]["view"]
    picture = find_picture(rgb)
    if view["region"] == "photograph":
        return resize(rgb[picture], side)
    if not mask.any():
        raise SystemExit("The mask is empty: there is no lesion to classify.")
    ends = [np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    part = tuple(slice(min(p.start, a), max(p.stop, b + 1)) for p, (a, b) in zip(picture, ends, strict=True))
    rgb, mask = rgb[part], mask[part]
    spans = [np.flatnonzero(mask.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    lengths = [int(last - start + 1) for start, last in spans]
    longer = max(lengths)
    square = max(longer, min(round(longer * (1 + 2 * view["margin"])), *mask.shape))
    top, left = (
        -((square - available) // 2)
        if square > available
        else min(max(0, int(start) - (square - length) // 2), available - square)
        for (start, _), length, available in zip(spans, lengths, mask.shape, strict=True)
    )
    if view["background"] == "zero":
        rgb = rgb * mask[..., None]
    box = (left, top, left + square, top + square)
    crop = Image.fromarray(rgb).crop(box)  # black outside the photograph
    return np.asarray(crop.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=3.0))


def encode_patient(config: dict[str, Any], patient: dict[str, str]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a classifier for patient data; missing ones are unknown."""
    encoding = config["tabular"] or {"numbers": [], "words": []}
    numbers, codes = [], []
    for column in encoding["numbers"]:
        if column["encoding"] != "standardised" or column["missing"] != "median" or column["indicator"]:
            raise SystemExit(f"This example does not reproduce the encoding of {column['name']}.")
        value = float(patient.get(column["name"], column["median"]))
        numbers.append(np.clip((value - column["mean"]) / column["std"], -MAX_DEVIATIONS, MAX_DEVIATIONS))
    for column in encoding["words"]:
        if column["encoding"] != "embedding" or column["indicator"]:
            raise SystemExit(f"This example does not reproduce the encoding of {column['name']}.")
        word = patient.get(column["name"], "").strip().casefold()
        codes.append(column["words"].index(word) + 1 if word in column["words"] else 0)
    inputs: dict[str, NDArray[Any]] = {
        "continuous": np.array([numbers], np.float32),
        "categories": np.array([codes], np.int64),
    }
    return {name: values for name, values in inputs.items() if values.size}


def check_patient(config: dict[str, Any], patient: dict[str, str]) -> None:
    """Stop at patient data that the model would not use, or treat as unknown."""
    encoding = config["tabular"] or {"numbers": [], "words": []}
    words = {column["name"]: column["words"] for column in encoding["words"]}
    names = [*(column["name"] for column in encoding["numbers"]), *words]
    for name, value in patient.items():
        if name not in names:
            raise SystemExit(f"--set {name}: expected one of the columns of this model: {', '.join(names) or 'none'}.")
        if name not in words and not np.isfinite(float(value)):
            raise SystemExit(f"--set {name}={value}: expected a number.")
        if name in words and value.strip().casefold() not in words[name]:
            raise SystemExit(f"--set {name}={value}: expected one of the words {', '.join(words[name])}.")


def class_probabilities(
    session: onnxruntime.InferenceSession,
    config: dict[str, Any],
    rgb: NDArray[np.uint8],
    mask: NDArray[np.bool_],
    patient: dict[str, str],
) -> dict[str, float]:
    """Return the calibrated probability of each class."""
    inputs = {"image": crop_lesion(rgb, mask, config)[None], **encode_patient(config, patient)}
    (probabilities,) = session.run(None, inputs)
    return dict(zip(config["classes"], probabilities[0].tolist(), strict=True))


def main() -> None:
    """Segment or classify one photograph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("--out", type=Path, default=Path("mask.png"), help="of a segmentation: the mask, 0 and 255")
    parser.add_argument("--mask", type=Path, help="for a classifier: the mask of the lesion")
    parser.add_argument("--set", metavar="COLUMN=VALUE", action="append", default=[], help="patient data")
    given = parser.parse_args()
    session, config = load_model(given.model)
    rgb = read_photograph(given.photograph)
    if config["task"] == "segmentation":
        mask = lesion_mask(lesion_probability(session, config, rgb), config["threshold"])
        Image.fromarray(mask.astype(np.uint8) * 255).save(given.out)
        sys.stdout.write(f"{given.out}: {mask.sum()} pixels\n")
        return
    if given.mask is None and config["classifier"]["view"]["region"] == "roi":
        parser.error("this classifier needs the mask of the lesion: --mask")
    mask = np.ones(rgb.shape[:2], bool) if given.mask is None else np.asarray(Image.open(given.mask).convert("L")) > 127
    if mask.shape != rgb.shape[:2]:
        raise SystemExit(f"{given.mask} has {mask.shape} rows and columns, the upright photograph {rgb.shape[:2]}.")
    patient = dict(text.split("=", 1) for text in given.set)
    check_patient(config, patient)
    for name, probability in class_probabilities(session, config, rgb, mask, patient).items():
        sys.stdout.write(f"{name}: {probability:.6f}\n")


if __name__ == "__main__":
    main()
