"""``doctor``: what works on this machine, and what to do about the rest."""

from __future__ import annotations

from napari_melanoma.cli.options import Debug, Json, examples
from napari_melanoma.cli.session import command_session

HELP = examples(
    "napari-melanoma doctor",
    "napari-melanoma doctor --json",
    "Say what works on this machine: GPU, Qt, OpenGL, formats, memory, model, each with a fix where one is needed. "
    "Exit code 1 only where photographs cannot be analysed.",
)
STATUS_LABELS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


def doctor(json: Json = False, debug: Debug = False) -> None:
    """Look at this machine."""
    with command_session(json, debug) as current:
        from napari_melanoma.doctor import run_checks

        checks = run_checks(run=current.run)
        for check in checks:
            text = f"{STATUS_LABELS[check.status]}  {check.name:<17} {check.found}"
            current.report.emit_item("check", text + (f"\n{'':<24}{check.fix}" if check.fix else ""), **vars(check))
        failed = [check.name for check in checks if check.status == "fail"]
        warned = [check.name for check in checks if check.status == "warn"]
        text = "All that is needed works; next: napari-melanoma demo --out demo-output"
        if warned:
            text = f"Works; with limits in {', '.join(warned)}, see above."
        if failed:
            text = f"Does not work yet: {', '.join(failed)}. Each line above says what to do."
        current.finish(text, some_failed=bool(failed), failing=failed, warnings=warned)
