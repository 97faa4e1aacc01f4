"""A bundle as a file for other programs; for 8-bit integers also what is gained (size, time) and lost (Dice)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.data.dataset import Sample, read_dataset, select_for_split
from napari_melanoma.evaluation.mask_measurement import measure_sample
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.imaging.refinement import RefinementConfig
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean, paired_difference
from napari_melanoma.models.export import (
    FileFormat,
    check_export_target,
    export_network,
    load_exported,
    require_export_packages,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.bundle import BundleInfo

TIMED, WARM_UP = 20, 3


class Int8Options(Config):
    """On which photographs 8-bit integers are fitted and measured."""

    calibration: int = Field(100, ge=1, description="photographs by which the range of each layer is found")
    measured: int = Field(100, ge=1, description="other photographs on which Dice is measured")


@dataclass(frozen=True)
class NetworkVersion:
    """A form of a network in figures: bytes of its file, milliseconds of one core a photograph, Dice."""

    name: str
    size: int
    latency_ms: float
    dice: Estimate

    def __str__(self) -> str:
        """Say it in a line."""
        return f"{self.name:<5} {self.size / 1e6:6.1f} MB  {self.latency_ms:7.1f} ms  Dice {self.dice}"


@dataclass(frozen=True)
class Int8Report:
    """Both forms, and Dice of the integers less that of the floating points, each data set by itself."""

    versions: dict[str, tuple[NetworkVersion, NetworkVersion]]
    difference: dict[str, Estimate]


def export_bundle(info: BundleInfo, out: Path, form: FileFormat) -> Path:
    """Write a bundle's network as one file that carries its ``config.json``."""
    check_export_target(out, form)
    export_network(_load_export_network(info), out, form, side=info.config.input_size, about=_export_metadata(info))
    return out


def export_int8_bundle(
    info: BundleInfo, out: Path, datasets: Sequence[Path], options: Int8Options, *, run: RunContext
) -> Int8Report:
    """Write a bundle's network in 8-bit integers, and measure it beside the floating points.

    Both run as ONNX files on one thread. Photographs of the split ``val`` are measured and never fitted to; where a
    data set has no splits, every other one is.
    """
    from napari_melanoma.models.export import export_int8

    check_export_target(out, "onnx")
    require_export_packages("onnxruntime")
    if info.config.task != "segmentation":
        raise BundleError(
            f"'{info.name}' tells classes; what 8-bit integers cost is measured on masks, which it does not draw. "
            "Choose the format onnx."
        )
    if not datasets:
        raise ConfigError("an export to int8 needs photographs to fit to and to measure on. Name a data set: --data.")
    split = {folder.name: _split_photographs(folder, options, len(datasets)) for folder in datasets}
    fitted = [sample for fit, _ in split.values() for sample in fit]
    network, side = _load_export_network(info), info.config.input_size
    images = (_network_input(sample, info) for sample in run.track(fitted, "Fitting"))
    export_int8(network, out, images, side=side, about=_export_metadata(info))
    with _temporary_float_file(network, out, side) as plain, _one_thread():
        report = _measure_versions(info, (plain, out), {name: measure for name, (_, measure) in split.items()}, run)
    write_json(out.with_suffix(".json"), report_values(report))
    return report


def report_values(report: Int8Report) -> dict[str, object]:
    """Say an ``Int8Report`` in plain values.

    By data set: ``float``, ``int8`` and ``difference``.
    """
    found: dict[str, object] = {}
    for name, versions in report.versions.items():
        forms = {
            version.name: {"bytes": version.size, "latency_ms": version.latency_ms, "dice": vars(version.dice)}
            for version in versions
        }
        found[name] = {**forms, "difference": vars(report.difference[name])}
    return found


def _measure_versions(
    info: BundleInfo, files: tuple[Path, Path], samples: dict[str, list[Sample]], run: RunContext
) -> Int8Report:
    """Measure both files on the same photographs."""
    from napari_melanoma.lesion.segmentation import Segmenter

    models = {name: Segmenter(info, load_exported(file)) for name, file in zip(("float", "int8"), files, strict=True)}
    sizes = dict(zip(models, (file.stat().st_size for file in files), strict=True))
    latency = {name: _measure_latency_ms(model) for name, model in models.items()}
    versions: dict[str, tuple[NetworkVersion, NetworkVersion]] = {}
    difference: dict[str, Estimate] = {}
    for dataset, measured in samples.items():
        dice: dict[str, list[float]] = {name: [] for name in models}
        for sample in run.track(measured, f"Measuring {dataset}"):
            for name, model in models.items():
                dice[name].append(_measure_dice(sample, model))
        groups = [sample.group for sample in measured]
        first, second = (
            NetworkVersion(name, sizes[name], latency[name], bootstrap_mean(values, groups, bounds=(0, 1)))
            for name, values in dice.items()
        )
        versions[dataset] = (first, second)
        difference[dataset] = paired_difference(dice["float"], dice["int8"], groups)
    return Int8Report(versions, difference)


def _measure_dice(sample: Sample, model: Segmenter) -> float:
    """Dice of one photograph, as users get its mask."""
    return measure_sample(sample, model, model.info.config.threshold, RefinementConfig())[1]["DI"]


def _measure_latency_ms(model: Segmenter) -> float:
    """Time that one core takes for the network's pass over one photograph: the median of several.

    It counts the work of this thread, not the clock on the wall, so that other programs do not change the figure.
    """
    import numpy as np

    side = model.info.config.input_size
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    took = []
    for _ in range(WARM_UP + TIMED):
        started = time.thread_time()
        model.logits([image])
        took.append(time.thread_time() - started)
    return 1e3 * median(took[WARM_UP:])


def _split_photographs(folder: Path, options: Int8Options, sharers: int) -> tuple[list[Sample], list[Sample]]:
    """Photographs of a data set to fit to and to measure on, spread evenly over it."""
    samples = select_for_split(read_dataset(folder), None)
    held_out = [sample for sample in samples if sample.split == "val"]
    others = [sample for sample in samples if sample.split != "val"]
    if not held_out or not others:
        others, held_out = samples[::2], samples[1::2]
    if not held_out:
        raise DataSetError(
            f"{folder} has {len(samples)} photograph with a mask; int8 needs one to fit to, one to measure."
        )
    return _sample_evenly(others, options.calibration // sharers or 1), _sample_evenly(held_out, options.measured)


def _sample_evenly(samples: list[Sample], count: int) -> list[Sample]:
    """At most so many, in even steps."""
    count = min(count, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def _network_input(sample: Sample, info: BundleInfo) -> NDArray[np.float32]:
    """A photograph as the network takes it: float32 (1, 3, side, side)."""
    import numpy as np

    from napari_melanoma.models.inference import to_tensor

    config = info.config
    image = prepare_network_input(read_photograph(sample.image).rgb, config.input_size, config.preprocessing)
    return np.ascontiguousarray(to_tensor([image], config).numpy())


def _load_export_network(info: BundleInfo) -> nn.Module:
    """The bundle's network."""
    from napari_melanoma.models.bundle import load_network

    if info.config.encoder is not None:
        raise BundleError(
            f"'{info.name}' answers from embeddings of '{info.config.encoder.name}' and looks at no picture: it cannot "
            "be exported as a file that takes pictures."
        )
    return load_network(info)


def _export_metadata(info: BundleInfo) -> str:
    """What a program must know beside the network: the bundle's configuration and the fingerprint of its weights."""
    return json.dumps({**info.config.model_dump(mode="json"), "fingerprint": info.fingerprint})


@contextmanager
def _temporary_float_file(network: nn.Module, folder: Path, side: int) -> Iterator[Path]:
    """The network in floating points as an ONNX file, for as long as it is compared."""
    path = folder.with_name(f".{folder.stem}-float.onnx")
    try:
        export_network(network, path, "onnx", side=side)
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let networks that are loaded here compute on one thread."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
