"""Choice between ONNX Runtime in float32 and torch in bfloat16, on processors that support bfloat16.

There, either may be faster, depending on the network. Both are measured at the first use of a model.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from napari_melanoma.core.context import network_threads
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.provenance import installed_version
from napari_melanoma.models.inference import BACKEND_VARIABLE
from napari_melanoma.slides.tile_passes import OnnxPasses, TileModelInfo, TilePasses, TorchPasses

PROCESSOR = Path("/proc/cpuinfo")  # of Linux
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of Intel and AMD, and of Arm
MEASURED_TILES, REPEATS = 16, 3
log = logging.getLogger(__name__)


def choose_passes(info: TileModelInfo, passes: OnnxPasses, load_torch: Callable[[], TorchPasses]) -> TilePasses:
    """Return what predicts faster: ``passes``, or those of torch in bfloat16.

    Without bfloat16 in the processor, torch is not loaded. The result of a measurement is remembered.
    """
    is_open = os.environ.get(BACKEND_VARIABLE, "auto") == "auto"
    if not (is_open and has_bfloat16() and installed_version("torch")):
        return passes
    versions = " ".join(f"{name} {installed_version(name)}" for name in ("torch", "onnxruntime"))
    key = f"{info.kind} {info.fingerprint} {versions}, {network_threads()} threads"
    remembered = _read_choices().get(key)
    if remembered == passes.backend:
        return passes
    torch_passes = load_torch()
    if remembered == torch_passes.backend:
        return torch_passes
    seconds = {candidate.backend: _measure(candidate, info.side_px) for candidate in (passes, torch_passes)}
    fastest = min(seconds, key=lambda backend: seconds[backend])
    log.info("'%s' runs with %s: seconds for %d tiles: %s", info.name, fastest, MEASURED_TILES, seconds)
    with suppress(SaveError):  # measured again next time
        write_json(choices_path(), {**_read_choices(), key: fastest})
    return passes if fastest == passes.backend else torch_passes


@cache
def has_bfloat16() -> bool:
    """Whether the processor supports bfloat16, according to Linux; False elsewhere. Unlike torch's, fast."""
    try:
        lines = PROCESSOR.read_text(errors="replace").splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return not BF16_FLAGS.isdisjoint(flags.split())


def choices_path() -> Path:
    """Return the file with the back ends of the models measured so far."""
    from platformdirs import user_state_path

    return user_state_path("napari-melanoma", appauthor=False) / "backends.json"


def _read_choices() -> dict[str, str]:
    try:
        content = read_json(choices_path())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _measure(passes: TilePasses, side: int) -> float:
    """Return the seconds of a pass, the least of a few."""
    tiles = np.random.default_rng(0).integers(0, 256, (MEASURED_TILES, side, side, 3), np.uint8)
    seconds = []
    for _ in range(REPEATS + 1):  # the first one also prepares the network
        started = time.perf_counter()
        passes.run(tiles, MEASURED_TILES)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
