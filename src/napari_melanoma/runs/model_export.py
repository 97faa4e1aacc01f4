"""Export the network of a bundle for other programs.

An export to 8-bit integers is also compared with the floating-point network: file size, time and Dice index.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, ConfigError, DataSetError, SaveError
from napari_melanoma.core.files import discard, temporary_name, write_json, write_text
from napari_melanoma.data.dataset import Sample, check_dataset_names, read_dataset, select_for_split
from napari_melanoma.evaluation.masks import measure_sample
from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.statistics import Estimate, bootstrap_mean, paired_difference
from napari_melanoma.models.export import check_export_target, export_network

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.bundle import BundleInfo

EXAMPLE = "example.py"
EXPORT_FORM = {"version": 1, "input": "uint8 RGB (batch, row, column, channel), of the side input_size"}
TIMED, WARM_UP = 20, 3  # forward passes


class Int8Options(Config):
    """Numbers of photographs for calibrating and measuring a network in 8-bit integers."""

    calibration: int = Field(100, ge=1, description="photographs that determine the range of each layer")
    measured: int = Field(100, ge=1, description="number of other photographs on which Dice is measured")


@dataclass(frozen=True)
class NetworkVersion:
    """Figures of an exported network (``float`` or ``int8``) on a data set.

    ``size``: bytes of the file. ``latency_ms``: milliseconds per photograph on one core.
    """

    name: str
    size: int
    latency_ms: float
    dice: Estimate

    def __str__(self) -> str:
        return f"{self.name:<5} {self.size / 1e6:6.1f} MB  {self.latency_ms:7.1f} ms  Dice {self.dice}"


@dataclass(frozen=True)
class Int8Report:
    """The figures of both networks (floating points, 8-bit integers) by data set.

    ``difference``: Dice of the 8-bit network minus Dice of the floating-point network, by data set.
    """

    versions: dict[str, tuple[NetworkVersion, NetworkVersion]]
    difference: dict[str, Estimate]


def export_bundle(info: BundleInfo, out: Path) -> Path:
    """Export a bundle's network as an ONNX file with its ``config.json`` embedded.

    ``example.py`` beside it reproduces the results of this program.
    """
    check_export_target(out)
    _write_example(out.parent)
    export_network(_load_export_network(info), out, side=info.config.input_size, metadata=_export_metadata(info))
    return out


def export_int8_bundle(
    info: BundleInfo, out: Path, datasets: Sequence[Path], options: Int8Options, *, run: RunContext
) -> Int8Report:
    """Export a bundle's network in 8-bit integers, and compare it with the floating-point network.

    Both run as ONNX files on one thread. Photographs of the split ``val`` are measured and never used for calibration;
    without splits, every second photograph is measured.
    """
    from napari_melanoma.models.export import export_int8

    check_export_target(out)
    if not info.config.segments_one_class:
        raise BundleError(
            f"'{info.name}' predicts {', '.join(info.config.classes)}; int8 is measured on lesion masks, which it does "
            "not predict. Use the format onnx."
        )
    if not datasets:
        raise ConfigError(
            "an export to int8 needs photographs for calibration and measurement. Name a data set: --data."
        )
    check_dataset_names(datasets)
    photographs = {folder.name: _split_photographs(folder, options, len(datasets)) for folder in datasets}
    calibration = [sample for fit, _ in photographs.values() for sample in fit]
    _write_example(out.parent)
    network, side = _load_export_network(info), info.config.input_size
    images = (_network_input(sample, info) for sample in run.track(calibration, "Fitting"))
    export_int8(network, out, images, side=side, metadata=_export_metadata(info))
    with _temporary_float_file(network, out, side) as float_file, _one_thread():
        report = _measure_versions(
            info, (float_file, out), {name: measure for name, (_, measure) in photographs.items()}, run
        )
    write_json(out.with_suffix(".json"), report_values(report))
    return report


def report_values(report: Int8Report) -> dict[str, object]:
    """Return the JSON values of an ``Int8Report``, by data set: ``float``, ``int8`` and ``difference``."""
    values: dict[str, object] = {}
    for name, versions in report.versions.items():
        figures = {
            version.name: {"bytes": version.size, "latency_ms": version.latency_ms, "dice": vars(version.dice)}
            for version in versions
        }
        values[name] = {**figures, "difference": vars(report.difference[name])}
    return values


def _measure_versions(
    info: BundleInfo, files: tuple[Path, Path], samples: dict[str, list[Sample]], run: RunContext
) -> Int8Report:
    models = {name: _load_segmenter(info, file) for name, file in zip(("float", "int8"), files, strict=True)}
    sizes = dict(zip(models, (file.stat().st_size for file in files), strict=True))
    latency = {name: _measure_latency_ms(model) for name, model in models.items()}
    versions: dict[str, tuple[NetworkVersion, NetworkVersion]] = {}
    difference: dict[str, Estimate] = {}
    for dataset, photographs in samples.items():
        dice: dict[str, list[float]] = {name: [] for name in models}
        for sample in run.track(photographs, f"Measuring {dataset}"):
            for name, model in models.items():
                metrics = measure_sample(sample, model, info.config.threshold, RefinementConfig())[1]
                dice[name].append(metrics["DI"])
        groups = [sample.group for sample in photographs]
        first, second = (
            NetworkVersion(name, sizes[name], latency[name], bootstrap_mean(values, groups, bounds=(0, 1)))
            for name, values in dice.items()
        )
        versions[dataset] = (first, second)
        difference[dataset] = paired_difference(dice["float"], dice["int8"], groups)
    return Int8Report(versions, difference)


def _load_segmenter(info: BundleInfo, file: Path) -> Segmenter:
    """Load an exported file, whose network normalizes the pixels itself."""
    import numpy as np
    import torch

    from napari_melanoma.lesion.segmentation import Segmenter
    from napari_melanoma.models.exported_network import ExportedNetwork

    class ExportedSegmenter(Segmenter):
        """A model from an exported file."""

        def __init__(self) -> None:
            self.info = info
            self._exported = ExportedNetwork(file)

        def logits(self, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
            with torch.inference_mode():
                return self._exported(torch.from_numpy(np.stack(inputs)))[:, 0].numpy()

    return ExportedSegmenter()


def _measure_latency_ms(model: Segmenter) -> float:
    """Measure the median time of a forward pass on one core.

    This is the processor time of the thread, so that other programs do not affect it.
    """
    import numpy as np

    side = model.info.config.input_size
    image = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    durations = []
    for _ in range(WARM_UP + TIMED):
        started = time.thread_time()
        model.logits([image])
        durations.append(time.thread_time() - started)
    return 1e3 * median(durations[WARM_UP:])


def _split_photographs(folder: Path, options: Int8Options, count: int) -> tuple[list[Sample], list[Sample]]:
    """Choose photographs of a data set, spread evenly over it.

    ``count``: number of data sets, which share the calibration photographs. Returns those for calibration, and those
    for measurement.
    """
    samples = select_for_split(read_dataset(folder), None)
    for_measurement = [sample for sample in samples if sample.split == "val"]
    for_calibration = [sample for sample in samples if sample.split not in ("val", "test")]
    if not for_measurement or not for_calibration:
        for_calibration, for_measurement = samples[::2], samples[1::2]
    if not for_measurement:
        raise DataSetError(
            f"{folder} has {len(samples)} photograph with a mask; int8 needs one to calibrate and one to measure."
        )
    return _sample_evenly(for_calibration, options.calibration // count or 1), _sample_evenly(
        for_measurement, options.measured
    )


def _sample_evenly(samples: list[Sample], count: int) -> list[Sample]:
    count = min(count, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def _network_input(sample: Sample, info: BundleInfo) -> NDArray[np.uint8]:
    """Return the network input of a photograph: uint8 (1, side, side, channel)."""
    config = info.config
    return prepare_network_input(read_photograph(sample.image).rgb, config.input_size, config.preprocessing)[None]


def _write_example(folder: Path) -> None:
    """Copy the example to a folder; a file of this name that is not an earlier version of it is not replaced."""
    source = (files("napari_melanoma.models") / "onnx_example.py").read_text(encoding="utf-8")
    target = folder / EXAMPLE
    first_line = source.partition("\n")[0]
    if target.exists() and not target.read_text(encoding="utf-8", errors="replace").startswith(first_line):
        raise SaveError(f"{target} exists and is not the example of this program. Choose another folder.")
    write_text(target, source)


def _load_export_network(info: BundleInfo) -> nn.Module:
    from napari_melanoma.models.bundle import load_network
    from napari_melanoma.models.photograph_network import PhotographNetwork

    if info.config.encoder is not None:
        raise BundleError(
            f"'{info.name}' predicts from embeddings of '{info.config.encoder.name}', not from images: it cannot "
            "be exported as a file with image input. Export a model of photographs."
        )
    return PhotographNetwork(load_network(info), info.config)


def _export_metadata(info: BundleInfo) -> str:
    """Return the configuration of a bundle, the fingerprint of its weights and the form of the file as JSON."""
    values = info.config.model_dump(mode="json")
    return json.dumps({**values, "fingerprint": info.fingerprint, "export": EXPORT_FORM})


@contextmanager
def _temporary_float_file(network: nn.Module, out: Path, side: int) -> Iterator[Path]:
    """Export the floating-point network as an ONNX file during the comparison."""
    path = temporary_name(out, ".onnx")
    try:
        export_network(network, path, side=side)
        yield path
    finally:
        discard(path)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Run networks on one thread inside the ``with`` block."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
