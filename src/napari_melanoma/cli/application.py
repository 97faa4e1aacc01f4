"""Commands ``open``, ``demo`` and ``doctor``: start napari, and check the machine."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_melanoma.cli.options import Debug, Out, format_help
from napari_melanoma.cli.session import CommandSession, command_session, stop_signals
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.paths import expand_user

DISPLAY_VARIABLES = (
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "QT_QPA_PLATFORM",
)  # the last chooses a platform that may need no display
MPP_HELP = "Micrometers per pixel, for slides whose file states none or a wrong value. Opens any image as a slide."
OPEN_HELP = format_help(
    "napari-melanoma open photo.jpg",
    "napari-melanoma open slide.tif --mpp 0.25",
    "Open napari with the given photographs and slides and a dock for them. Returns when napari is closed.",
)
DEMO_HELP = format_help(
    "napari-melanoma demo --out demo-output",
    "napari-melanoma demo --slide --out demo-output --headless",
    "Open napari with an analyzed melanoma, or your photograph, and write a screenshot, the results and a report to "
    "OUT. --slide shows a skin slide with its tissue map, --case a case of two lesions. The samples are real and were "
    "used in no training. With --headless no window stays open.",
)
DOCTOR_HELP = format_help(
    "napari-melanoma doctor",
    "napari-melanoma doctor --json",
    "Check what works on this machine: GPU, Qt, OpenGL, formats, memory, model, plug-ins, each with a fix where one is "
    "needed. "
    "The exit code is 1 only if photographs cannot be analyzed.",
)
STATUS_LABELS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def call_ui(module: str, function: str, *arguments: object, **keywords: object) -> Any:  # noqa: ANN401 - any result
    """Call a function of ``ui`` by name, so that importing the command line does not import Qt.

    From then on Ctrl+C or a signal to terminate ends the process at once, because Qt's event loop does not check
    whether the command was canceled. Manual corrections are not lost: they are saved in the recovery file.
    """
    if sys.platform == "linux" and not any(os.environ.get(name) for name in DISPLAY_VARIABLES):
        raise MelanomaError(
            "no window can be opened: neither DISPLAY nor WAYLAND_DISPLAY is set. Log in to a desktop session, or put "
            "xvfb-run in front of the command; `napari-melanoma lesion` needs no window."
        )
    for signal_number in stop_signals():
        signal.signal(signal_number, signal.SIG_DFL)
    return getattr(import_module(f"napari_melanoma.ui.{module}"), function)(*arguments, **keywords)


def open_(
    paths: Annotated[list[str] | None, typer.Argument(metavar="PATH", help="Photographs and slides to open.")] = None,
    mpp: Annotated[float | None, typer.Option(metavar="UM", help=MPP_HELP)] = None,
    debug: Debug = False,
) -> None:
    """Open napari."""
    with command_session(False, debug):
        size = None if mpp is None else PixelSize(mpp, mpp, "given")
        slides, photographs = _separate_slides(paths or [], all_are_slides=size is not None)
        call_ui("launch", "open_viewer", photographs, slides, size)


def _separate_slides(paths: list[str], *, all_are_slides: bool) -> tuple[list[Path], list[Path]]:
    """Return slides and photographs; a folder that is not a slide is searched for photographs."""
    from napari_melanoma.io.discovery import find_photographs
    from napari_melanoma.slides.reading.detection import contains_slides, find_slides

    slides = [path for path in paths if all_are_slides or contains_slides(expand_user(path))]
    photographs = [path for path in paths if path not in slides]
    return find_slides(slides) if slides else [], find_photographs(photographs) if photographs else []


def demo(
    out: Out,
    image: Annotated[Path | None, typer.Argument(metavar="IMAGE", help="Your own photograph.")] = None,
    slide: Annotated[bool, typer.Option("--slide", help="A skin slide with its tissue map.")] = False,
    case: Annotated[bool, typer.Option("--case", help="A melanoma and a nevus of one patient.")] = False,
    headless: Annotated[bool, typer.Option("--headless", help="Write the files and exit.")] = False,
    debug: Debug = False,
) -> None:
    """Show an analyzed lesion."""
    with command_session(False, debug) as current:
        if sum((image is not None, slide, case)) > 1:
            raise InputError("expected one of IMAGE, --slide and --case; found several. Give one of them.")
        subject = "slide" if slide else "case" if case else "lesion"
        call_ui("demo", "run_demo", image, out, subject, headless=headless)
        current.finish(f"Screenshot and result files are in {out}; next: napari-melanoma open PHOTOGRAPH")


def doctor(current: CommandSession) -> None:
    """Check this machine."""
    from napari_melanoma.doctor import run_checks

    checks = run_checks(run=current.run)
    for check in checks:
        text = f"{STATUS_LABELS[check.status]}  {check.name:<17} {check.found}"
        current.report.emit_item("check", text + (f"\n{'':<24}{check.fix}" if check.fix else ""), **vars(check))
    failed = [check.name for check in checks if check.status == "fail"]
    warned = [check.name for check in checks if check.status == "warn"]
    text = "All required components work; next: napari-melanoma demo --out demo-output"
    if warned:
        text = f"Works with limitations: {', '.join(warned)}. See above."
    if failed:
        text = f"Does not work yet: {', '.join(failed)}. Each line above states what to do."
    current.finish(text, some_failed=bool(failed), failing=failed, warnings=warned)
