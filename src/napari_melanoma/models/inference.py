"""Run the functions of a bundle's network: with ONNX Runtime on the CPU, or with torch.

ONNX Runtime starts in a fraction of a second and is faster on most processors; it needs the graphs of a bundle, see
``graphs``. torch runs every network, and GPUs. This module imports neither.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError, ConfigError
from napari_melanoma.core.packages import require_torch
from napari_melanoma.core.provenance import record_backend

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from napari_melanoma.models.bundle import BundleConfig, BundleInfo
    from napari_melanoma.models.graphs import Graphs
    from napari_melanoma.models.network_functions import NetworkFunction

Backend = Literal["auto", "onnxruntime", "torch"]
Device = Literal["auto", "cpu", "cuda", "mps", "xpu"]
BACKEND_VARIABLE = "NAPARI_MELANOMA_BACKEND"  # environment variables that force a back end, and a device
DEVICE_VARIABLE = "NAPARI_MELANOMA_DEVICE"
_without_torch: ContextVar[bool] = ContextVar("without_torch", default=False)  # of the thread
log = logging.getLogger(__name__)


class InferenceNetwork(Protocol):
    """A network that predictions call.

    ``backend``: "onnxruntime" or "torch". ``device``: "cpu", "cuda", "mps" or "xpu".
    """

    @property
    def backend(self) -> str:
        """The library that computes."""

    @property
    def device(self) -> str:
        """Where it computes."""

    @property
    def functions(self) -> Collection[str]:
        """The names for ``run``."""

    @property
    def view_offset(self) -> float | None:
        """See ``graphs.GraphIndex``."""

    def run(self, function: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run a function of ``network_functions``; inputs that it does not have are ignored.

        Returns arrays by name.
        """


class TorchNetwork:
    """A network that torch runs; ``network``: in evaluation mode."""

    backend = "torch"

    def __init__(self, network: nn.Module, config: BundleConfig, device: str = "cpu") -> None:
        from napari_melanoma.models.torch_inference import memory_layout

        self.device = device
        self.network = network.to(memory_format=memory_layout(device)).to(device)
        self._config = config

    @cached_property
    def _functions(self) -> dict[str, NetworkFunction]:
        from napari_melanoma.models.network_functions import list_functions

        return list_functions(self.network, self._config)

    @property
    def functions(self) -> Collection[str]:
        """The names for ``run``."""
        return self._functions.keys()

    @cached_property
    def view_offset(self) -> float | None:
        """See ``graphs.GraphIndex``."""
        from napari_melanoma.models.network_functions import measure_offset

        return measure_offset(self.network, self._config, self.device)

    def run(self, function: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run a function; see ``InferenceNetwork``."""
        import torch

        from napari_melanoma.models.torch_inference import memory_layout

        module, layout = self._functions[function], memory_layout(self.device)
        with torch.inference_mode():
            tensors = {
                name: torch.from_numpy(inputs[name]).to(
                    self.device, memory_format=layout if inputs[name].ndim == 4 else torch.preserve_format
                )
                for name in module.inputs
            }
            outputs = module(**tensors)
        named = zip(module.outputs, outputs if isinstance(outputs, tuple) else (outputs,), strict=True)
        return {name: output.cpu().numpy() for name, output in named}


class OnnxNetwork:
    """A bundle's network that ONNX Runtime runs on the CPU; each graph is opened at its first use."""

    backend = "onnxruntime"
    device = "cpu"

    def __init__(self, graphs: Graphs) -> None:
        self._graphs = graphs
        self._sessions: dict[str, Any] = {}

    @property
    def functions(self) -> Collection[str]:
        """The names for ``run``."""
        return self._graphs.functions

    @property
    def view_offset(self) -> float | None:
        """See ``GraphIndex``."""
        return self._graphs.index.view_offset

    def run(self, function: str, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run a function; see ``InferenceNetwork``."""
        session = self._sessions.get(function)
        if session is None:
            session = self._sessions[function] = self._graphs.open_session(function, self._weights)
        values = session.run(None, {node.name: inputs[node.name] for node in session.get_inputs()})
        return dict(zip((node.name for node in session.get_outputs()), values, strict=True))

    @cached_property
    def _weights(self) -> dict[str, Any]:
        return self._graphs.read_weights()


def load_inference(info: BundleInfo, device: str | None = None, backend: Backend = "auto") -> InferenceNetwork:
    """Load a bundle's network for predictions.

    ``device``: None for the fastest. ``backend``: "auto" takes ONNX Runtime on a CPU if the bundle has graphs.
    """
    choice = choose_backend(info, device, backend)
    record_backend(choice.backend)
    if choice.graphs is not None:
        return OnnxNetwork(choice.graphs)
    require_torch(
        f"running '{info.name}' in torch ({choice.reason})",
        "select a model with graphs, such as the shipped ones, and leave back end and device at auto",
    )
    from napari_melanoma.models.bundle import load_network

    device = find_device(device)
    return TorchNetwork(load_network(info), info.config, device)


@dataclass(frozen=True)
class BackendChoice:
    """The back end for a bundle's network, and the reason for it; ``graphs``: for ONNX Runtime."""

    backend: str
    reason: str
    graphs: Graphs | None = None


def choose_backend(info: BundleInfo, device: str | None = None, backend: Backend = "auto") -> BackendChoice:
    """Choose the back end that ``load_inference`` loads a bundle for."""
    from napari_melanoma.models.graphs import find_graphs, request_conversion

    if _without_torch.get():
        graphs = find_graphs(info)
        if graphs is None:
            raise BundleError(
                f"'{info.name}' has no graphs for ONNX Runtime, and torch does not run in the process of the viewer. "
                "Use the model in a dock or on the command line, or add the graphs: napari-melanoma models import "
                f"{info.path}."
            )
        return BackendChoice("onnxruntime", "torch does not run in this process", graphs)
    requested, device = _read_request(BACKEND_VARIABLE, backend, Backend), _requested_device(device)
    if requested == "torch":
        return BackendChoice("torch", "requested")
    if device not in (None, "cpu"):
        if requested == "onnxruntime":
            raise ConfigError(
                f"the back end is onnxruntime, which runs on the CPU, but the device is '{device}'. Set one of both."
            )
        return BackendChoice("torch", f"the device is {device}")
    if requested == "auto" and device is None and has_gpu():
        return BackendChoice("torch", "it can use the GPU")
    graphs = find_graphs(info)
    if graphs is None and requested == "onnxruntime":
        raise BundleError(f"'{info.name}' has no graphs for ONNX Runtime. Set the back end to auto or torch.")
    if graphs is None:
        request_conversion(info)
        return BackendChoice("torch", "the model has no graphs for ONNX Runtime")
    return BackendChoice("onnxruntime", "requested" if requested == "onnxruntime" else "the processor is used", graphs)


def find_device(device: str | None = None) -> str:
    """Return the device for torch: that of the caller or of the environment, or else the fastest."""
    from napari_melanoma.models.torch_inference import list_devices

    requested, available = _requested_device(device), list_devices()
    if requested not in (None, *available):
        raise ConfigError(
            f"the device is '{requested}', but torch finds only: {', '.join(available)}. Set the device to one of "
            "these or to auto; 'napari-melanoma doctor' shows what is missing."
        )
    return requested or available[0]


@contextmanager
def using_backend(backend: str | None = None, device: str | None = None) -> Iterator[None]:
    """Force a back end or a device inside the ``with`` block, in this process and its child processes.

    Networks are loaded in many places, also in processes for other slides: the environment reaches all of them.
    """
    forced = {BACKEND_VARIABLE: backend, DEVICE_VARIABLE: device}
    previous = {variable: os.environ.get(variable) for variable, value in forced.items() if value}
    os.environ.update({variable: value for variable, value in forced.items() if value})
    try:
        yield
    finally:
        for variable, value in previous.items():
            del os.environ[variable]
            if value is not None:
                os.environ[variable] = value


@contextmanager
def without_torch() -> Iterator[None]:
    """Run networks that this thread loads with ONNX Runtime on the processor, whatever the environment requests.

    For the process of the viewer, which never imports torch.
    """
    token = _without_torch.set(True)
    try:
        yield
    finally:
        _without_torch.reset(token)


def _requested_device(device: str | None) -> str | None:
    requested = _read_request(DEVICE_VARIABLE, device or "auto", Device)
    return None if requested == "auto" else requested


def _read_request(variable: str, value: str, choices: object) -> str:
    """Return the value of the caller or, if that is "auto", of the environment; ``choices``: their ``Literal``."""
    requested = os.environ.get(variable, "auto") if value == "auto" else value
    if requested not in get_args(choices):
        raise ConfigError(f"{variable} is '{requested}', expected one of: {', '.join(get_args(choices))}.")
    return requested


@cache
def has_gpu() -> bool:
    """Whether torch finds a GPU; torch is imported only if the machine or the build of torch may have one."""
    try:
        build = version("torch")
    except PackageNotFoundError:
        return False
    if build.endswith("+cpu") or not _may_have_gpu():
        return False
    from napari_melanoma.models.torch_inference import choose_device

    return choose_device() != "cpu"


def _may_have_gpu() -> bool:
    """Whether there is a driver of a GPU that torch supports."""
    if sys.platform == "darwin":
        return True
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").exists()
    return any(Path(driver).exists() for driver in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg", "/dev/dri/renderD128"))


class Normalization(Protocol):
    """Mean and standard deviation of the channels of RGB in [0, 1]."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Subtracted from each channel."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Divides the difference."""


def normalize_images(images: Sequence[NDArray[np.uint8]] | NDArray[np.uint8], to: Normalization) -> NDArray[np.float32]:
    """Stack and normalize images as a network requires.

    ``images``: uint8 (row, column, channel=3), all of the same size. Returns float32 (batch, channel, row, column).
    """
    stacked = np.asarray(images)
    normalized = np.empty((len(stacked), 3, *stacked.shape[1:3]), np.float32)
    for channel, (mean, std) in enumerate(zip(to.mean, to.std, strict=True)):  # ten times faster than by pixels
        plane = normalized[:, channel]
        plane[...] = stacked[..., channel]
        plane *= np.float32(1 / (255 * std))
        plane -= np.float32(mean / std)
    return normalized


def to_tensor(images: Sequence[NDArray[np.uint8]], to: Normalization, device: str | torch.device = "cpu") -> Tensor:
    """Return ``normalize_images`` as a tensor on a device."""
    import torch

    from napari_melanoma.models.torch_inference import memory_layout

    return torch.from_numpy(normalize_images(images, to)).to(device, memory_format=memory_layout(device))


def restore_size(logits: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resize an output map to the size of the photograph, and convert logits to probabilities.

    Logits are interpolated instead of probabilities, because their zero crossing moves smoothly between pixels, so that
    a coarse border becomes a smooth curve.

    ``logits``: float32 (row, column). ``shape``: rows and columns of the photograph. Returns float32 (row, column) in
    [0, 1].
    """
    return to_probability(resize_logits(logits, shape))


def resize_logits(logits: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Interpolate logits, float32 (row, column), to (rows, columns) of ``shape``; the result may be read-only."""
    from PIL import Image  # imported late: the docks import this module when they open

    return np.asarray(Image.fromarray(logits).resize((shape[1], shape[0]), Image.Resampling.BICUBIC), np.float32)


def to_probability(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert logits to probabilities in [0, 1], float32 of the same shape."""
    probability = np.negative(logits)
    np.clip(probability, -30.0, 30.0, out=probability)
    np.exp(probability, out=probability)
    probability += 1.0
    return np.reciprocal(probability, out=probability)
