"""The doctor reports the installation with fixes, and survives any failure of its probes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_melanoma import doctor
from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import InputError
from napari_melanoma.doctor import DoctorCheck, check_gpu, run_probe
from napari_melanoma.reports.pdf import WeasyPrintError

TORCH = {
    "torch": "2.9",
    "torchvision": "0.24",
    "built_for": None,
    "gpus": [],
    "bf16": False,
    "threads": 2,
}
MODEL = {
    "model": "small",
    "backend": "onnxruntime",
    "version": "1.32.0",
    "device": "cpu",
    "reason": "the processor is used",
    "seconds": 0.42,
}


def answering(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], fault: str = "") -> None:
    monkeypatch.setattr(doctor, "run_probe", lambda module: (answer, fault))


def statuses(checks: list[DoctorCheck]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


@pytest.mark.parametrize(
    ("answer", "system", "nvidia", "status", "expected"),
    [
        ({"gpus": ["CUDA H200"], "built_for": "12.6"}, "linux", True, "ok", "CUDA H200"),
        ({"gpus": ["MPS (Apple)"], "built_for": None}, "darwin", False, "ok", "MPS"),
        ({"gpus": [], "built_for": None}, "linux", False, "ok", "the processor is used"),
        ({"gpus": [], "built_for": None}, "win32", True, "warn", "on PyPI for Windows"),
        ({"gpus": [], "built_for": None}, "linux", True, "warn", "built for the processor only"),
        ({"gpus": [], "built_for": "12.6"}, "linux", True, "warn", "cannot use"),
    ],
    ids=["CUDA", "MPS", "no GPU", "CPU build on Windows", "CPU build on Linux", "old driver"],
)
def test_an_unused_gpu_is_reported(answer, system: str, nvidia: bool, status: str, expected: str) -> None:
    check = check_gpu(answer, system, nvidia)
    assert check.status == status
    assert expected in check.found
    assert bool(check.fix) is (status == "warn")


def test_working_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, TORCH)
    assert statuses(doctor.check_torch()) == {"Torch": "ok", "GPU": "ok"}


@pytest.mark.parametrize(
    ("answer", "fault", "status", "expected"),
    [
        (MODEL, "", "ok", "small on cpu with onnxruntime 1.32.0 (the processor is used), 0.4 s"),
        ({"error": "cut off"}, "", "fail", "cut off"),
        ({}, "its process ended with code -4", "fail", "its process ended with code -4"),
    ],
    ids=["works", "damaged weights", "crash"],
)
def test_the_back_end_of_the_default_model_is_shown(
    monkeypatch, answer, fault: str, status: str, expected: str
) -> None:
    answering(monkeypatch, answer, fault)
    (model,) = doctor.check_model()
    assert (model.status, model.found) == (status, expected)
    assert bool(model.fix) is (status == "fail")


def test_without_torch_there_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, {}, "torchvision::nms does not exist")
    assert statuses(doctor.check_torch()) == {"Torch": "warn"}
    monkeypatch.setattr(doctor, "TORCH_PACKAGES", ("no-such-package",))
    (check,) = doctor.check_torch()
    assert check.found.startswith("missing: no-such-package; training")


@pytest.mark.parametrize(
    ("answer", "fault", "expected"),
    [
        ({"binding": "PyQt6", "qt": "6", "platform": "xcb", "renderer": "llvmpipe"}, "", {"Qt": "ok", "OpenGL": "ok"}),
        ({"binding": "PyQt6", "qt": "6", "platform": "offscreen", "renderer": ""}, "", {"Qt": "ok", "OpenGL": "warn"}),
        ({}, "could not connect to display", {"Qt": "warn"}),
    ],
    ids=["a display", "offscreen", "no display"],
)
def test_a_missing_display_is_a_warning(monkeypatch, answer, fault: str, expected: dict[str, str]) -> None:
    answering(monkeypatch, answer, fault)
    checks = doctor.check_graphics()
    assert statuses(checks) == expected
    assert all(check.fix for check in checks if check.status == "warn")


def test_the_layout_of_pdf_reports_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = WeasyPrintError.from_error(OSError("cannot load library 'libgobject-2.0-0': no such file"))
    answering(monkeypatch, {"missing": missing.missing, "fix": missing.advice})
    (check,) = doctor.check_reports()
    assert check.status == "warn"
    assert check.found == "they need WeasyPrint: the library libgobject-2.0-0 (GLib) cannot be loaded"
    assert check.fix.startswith("Print the HTML report to PDF from the browser. Or: Install Pango")
    answering(monkeypatch, {}, "its process ended with code -6")
    (check,) = doctor.check_reports()
    assert "code -6" in check.found
    assert "reinstall weasyprint" in check.fix


def test_the_reason_why_weasyprint_cannot_load_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an installation in which the package, or one of its libraries, is missing."""
    package = tmp_path / "weasyprint"
    package.mkdir()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    cases = {
        """raise OSError("cannot load library 'libharfbuzz-0': not found")""": "libharfbuzz-0 (HarfBuzz)",
        "import tinycss_is_missing": "No module named 'tinycss_is_missing'",
    }
    for code, expected in cases.items():
        (package / "__init__.py").write_text(code)
        (check,) = doctor.check_reports()
        assert (check.status, "Pango" in check.found) == ("warn", False)
        assert expected in check.found


def test_no_qt_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert statuses(doctor.check_graphics()) == {"Qt": "warn"}
    assert statuses(doctor.check_weights()) == {"ImageNet weights": "warn"}
    assert statuses(doctor.check_formats())["DICOM"] == "warn"


def test_a_missing_openslide_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert statuses(doctor.check_formats())["OpenSlide"] == "ok"
    monkeypatch.setitem(sys.modules, "openslide", None)
    [check] = [check for check in doctor.check_formats() if check.name == "OpenSlide"]
    assert check.status == "warn"
    assert "openslide-bin" in check.fix


def test_missing_packages_are_essential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("numpy", "no-such-package"))
    python, packages = doctor.check_python()
    assert python.status == "ok"
    assert packages.status == "fail"
    assert packages.fix == "Install the missing packages: pip install no-such-package"


@pytest.mark.parametrize(("free", "status"), [(1e9, "warn"), (1e11, "ok")])
def test_little_memory_and_disk_are_warnings(monkeypatch: pytest.MonkeyPatch, free: float, status: str) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=free, total=1e12))
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    assert statuses(doctor.check_resources()) == {"Memory": status, "Disk": status}


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        ("print('noise'); print('{\"a\": 1}')", ""),
        ("raise ImportError('no such library')", "ImportError: no such library"),
        ("import sys; sys.stderr.write('no display\\nmore\\n'); sys.exit(3)", "no display"),
        ("import os; os.abort()", "its process ended with code"),
        ("print('no json')", "the result is not JSON"),
        ("pass", "the result is not JSON"),
    ],
    ids=["result", "raises", "explains", "crashes", "other output", "silent"],
)
def test_every_failure_of_a_probe_is_reported(monkeypatch: pytest.MonkeyPatch, script: str, fault: str) -> None:
    run = subprocess.run
    monkeypatch.setattr(doctor.subprocess, "run", lambda command, **given: run([sys.executable, "-c", script], **given))
    answer, error = run_probe("module")
    assert answer == ({} if fault else {"a": 1})
    assert error.startswith(fault)
    assert bool(error) is bool(fault)


def test_a_hanging_probe_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_S", 0.2)
    run = subprocess.run
    hang = [sys.executable, "-c", "import time; time.sleep(30)"]
    monkeypatch.setattr(doctor.subprocess, "run", lambda command, **given: run(hang, **given))
    assert run_probe("module")[1].startswith("no result")


@pytest.mark.slow
def test_real_probes_do_not_import_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "qtpy", "torch", "weasyprint"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not ours')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")  # a window can be opened on each machine
    answer, fault = run_probe("napari_melanoma.torch_backends")
    assert fault == ""
    assert answer["threads"] >= 1
    (model,) = doctor.check_model()
    assert (model.status, "lesion-small on cpu with onnxruntime" in model.found) == ("ok", True)
    (check,) = doctor.check_reports()
    assert (check.name, check.status) == ("PDF reports", "ok")
    assert check.found.startswith("WeasyPrint ")
    assert statuses(doctor.check_graphics())["Qt"] == "ok"


def test_all_checks_run_and_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "CHECKS", (doctor.check_python, doctor.check_weights))
    seen: list[Progress] = []
    found = doctor.run_checks(run=RunContext(seen.append))
    assert [check.name for check in found] == ["Python", "Packages", "ImageNet weights"]
    assert [progress.done for progress in seen] == [1, 2]
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        doctor.run_checks(run=run)


@pytest.mark.parametrize(
    ("damaged", "status", "expected"),
    [
        ([], "ok", "14 images"),
        (["a.jpg is missing"], "warn", "a.jpg is missing"),
        (["a.jpg is missing", "b.png is damaged"], "warn", "a.jpg is missing, and 1 more"),
        (InputError("the table of the samples is missing"), "warn", "the table of the samples is missing"),
    ],
    ids=["intact", "missing", "several", "table"],
)
def test_a_missing_or_damaged_sample_is_reported(
    monkeypatch: pytest.MonkeyPatch, damaged: list[str] | InputError, status: str, expected: str
) -> None:
    def find() -> list[str]:
        if isinstance(damaged, InputError):
            raise damaged
        return damaged

    monkeypatch.setattr("napari_melanoma.samples.catalog.find_damaged_files", find)
    (check,) = doctor.check_samples()
    assert (check.status, check.found) == (status, expected)
    assert ("Reinstall napari-melanoma" in check.fix) == (status == "warn")
    assert doctor.check_samples in doctor.CHECKS
