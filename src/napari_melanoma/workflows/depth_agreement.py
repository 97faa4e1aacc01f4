"""Two readers of depth compared over many slides: a table of all readings, their agreement, and its figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from napari_melanoma.analysis.agreement import FEWEST, BlandAltman, bland_altman, intraclass_correlation
from napari_melanoma.analysis.breslow.category import t_category
from napari_melanoma.analysis.depth_edits import MODEL, automatic_reading
from napari_melanoma.analysis.statistics import Estimate
from napari_melanoma.core.counting import counted
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.io.results import write_table
from napari_melanoma.io.slide_depth import Reading
from napari_melanoma.report.agreement import draw_bland_altman
from napari_melanoma.workflows.depth_readings import Gathered, SlideReadings

READINGS, AGREEMENT, FIGURE = "readings.csv", "agreement.json", "figures/bland_altman.png"
NOBODY = "(no name)"  # of a reader who gave none, in tables and on the command line


@dataclass(frozen=True)
class Agreement:
    """How two readers agree on the depth; ``found`` and ``icc`` are None where too few slides have both."""

    readers: tuple[str, str]
    slides: int
    found: BlandAltman | None
    icc: Estimate | None
    same_category: int = 0
    same_ulceration: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()


def readers_of(gathered: Gathered) -> tuple[str, ...]:
    """Name those who measured.

    By how many slides they measured, the most first; ``(no name)`` for who gave none.
    """
    counts = Counter(name or NOBODY for slide in gathered.slides for name in slide.readings)
    return tuple(name for name, _ in sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def compare_readers(gathered: Gathered, readers: Sequence[str]) -> Agreement:
    """Compare what two readers measured."""
    if len(set(readers)) != 2 or len(readers) != 2:
        raise InputError(f"agreement is of two readers: name two of {_listed(gathered)} with --reader.")
    first, second = readers
    for name in readers:
        if not any(_of(slide, name) for slide in gathered.slides):
            raise InputError(f"'{name}' measured no slide here. Readers are {_listed(gathered)}.")
    both = [(a, b) for slide in gathered.slides if (a := _of(slide, first)) and (b := _of(slide, second))]
    depths = [(float(a.mm or 0), float(b.mm or 0)) for a, b in both]
    notes = tuple(_notes(both, readers))
    said = [(a.ulcerated, b.ulcerated) for a, b in both if a.ulcerated is not None and b.ulcerated is not None]
    alike = sum(_category(a) == _category(b) for a, b in both)
    ulcers = (sum(a == b for a, b in said), len(said))
    if len(both) < FEWEST:
        return Agreement((first, second), len(both), None, None, alike, ulcers, notes)
    found = bland_altman(*zip(*depths, strict=True))
    return Agreement((first, second), len(both), found, intraclass_correlation(depths), alike, ulcers, notes)


def write_readings(gathered: Gathered, agreement: Agreement | None, out: Path) -> list[Path]:
    """Write the table of all readings and, where there is one, the agreement with its figure."""
    write_table(out / READINGS, readings_rows(gathered))
    written = [out / READINGS]
    if agreement is not None:
        write_json(out / AGREEMENT, agreement_values(agreement))
        written.append(out / AGREEMENT)
        if agreement.found is not None:
            draw_bland_altman(agreement.found, agreement.readers, out / FIGURE)
            written.append(out / FIGURE)
    return written


def readings_rows(gathered: Gathered) -> list[dict[str, object]]:
    """Give a row a reading; notes are free text, and stay in the slide's folder.

    In the columns of the harmonised table and what else is known; of each slide the analysis's own last.
    """
    return [row for slide in gathered.slides for row in _rows(slide)]


def agreement_values(agreement: Agreement) -> dict[str, Any]:
    """Give an agreement as JSON has it.

    In mm; null where too few slides have both.
    """
    found = agreement.found
    figures: dict[str, Any] = dict.fromkeys(("bias_mm", "lower_limit_mm", "upper_limit_mm", "slope", "sd_mm"))
    if found is not None:
        ends = {"bias_mm": found.bias, "lower_limit_mm": found.low, "upper_limit_mm": found.high, "slope": found.slope}
        figures = {**{name: asdict(one) for name, one in ends.items()}, "sd_mm": found.sd}
    return {
        "format_version": 1,
        "readers": list(agreement.readers),
        "slides": agreement.slides,
        **figures,
        "icc_2_1": None if agreement.icc is None else asdict(agreement.icc),
        "same_t_category": agreement.same_category,
        "same_ulceration": list(agreement.same_ulceration),
        "notes": list(agreement.notes),
    }


def said_agreement(agreement: Agreement) -> str:
    """Say how two readers agree."""
    first, second = agreement.readers
    head = f"{first} and {second}: {counted(agreement.slides, 'slide')} measured by both"
    found, icc = agreement.found, agreement.icc
    if found is None or icc is None:
        return f"{head}; agreement takes {FEWEST} or more."
    bias = f"bias ({second} less {first}) {found.bias.mean:+.2f} mm ({found.bias.interval('+.2f')})"
    limits = f"limits of agreement {found.low.mean:+.2f} to {found.high.mean:+.2f} mm"
    same = f"T category the same in {agreement.same_category} of {agreement.slides}"
    return "\n".join([f"{head}.", f"  {bias}, {limits}", f"  ICC(2,1) {icc.mean:.3f} ({icc.interval('.3f')}), {same}"])


def _of(slide: SlideReadings, name: str) -> Reading | None:
    """What a reader measured on a slide; None where there is no thickness."""
    if name == MODEL:
        found: Reading | None = automatic_reading(slide.automatic)
    else:
        found = slide.readings.get("" if name == NOBODY else name)
    return None if found is None or found.mm is None else found


def _category(reading: Reading) -> str:
    """T category of a thickness that is known."""
    assert reading.mm is not None
    return t_category(reading.mm, reading.ulcerated)


def _notes(both: Sequence[tuple[Reading, Reading]], readers: Sequence[str]) -> list[str]:
    """What makes two readers agree, or differ, for other reasons than their eyes."""
    notes = []
    taken = sum(a.method == b.method == "automatic" for a, b in both)
    if taken and MODEL not in readers:
        notes.append(f"on {counted(taken, 'slide')} both took the model's line as it was, which makes them agree")
    least = sum(a.at_least or b.at_least for a, b in both)
    if least:
        notes.append(f"on {counted(least, 'slide')} the melanoma reaches the section's edge: the depth is a least one")
    return notes


def _listed(gathered: Gathered) -> str:
    """Names of the readers, for a message."""
    lines = any(slide.automatic.proposals for slide in gathered.slides)
    return ", ".join((*readers_of(gathered), *([MODEL] if lines else [])))


def _rows(slide: SlideReadings) -> list[dict[str, object]]:
    """The readings of one slide, the analysis's own last."""
    readings = [(name or NOBODY, one) for name, one in sorted(slide.readings.items())]
    if slide.automatic.proposals:
        readings.append((MODEL, automatic_reading(slide.automatic)))
    return [{"slide": slide.name, "reader": name, **_row(one)} for name, one in readings]


def _row(one: Reading) -> dict[str, object]:
    """A reading in the columns of the harmonised table, and what else is known."""
    low, high = one.interval_mm or (None, None)
    return {
        "depth_mm": one.mm,
        "depth_low_mm": low,
        "depth_high_mm": high,
        "at_least": one.at_least,
        "t_category": None if one.mm is None else _category(one),
        "ulceration": one.ulcerated,
        "clark": one.clark,
        "clark_by": one.clark_by,
        "mitoses": one.mitoses.counted,
        "mitoses_mm2": one.mitoses.mm2,
        "mitoses_per_mm2": one.mitoses.per_mm2,
        "margin_lateral_mm": one.margins.lateral_mm,
        "margin_deep_mm": one.margins.deep_mm,
        "method": one.method,
        "when": one.when,
        "changes": len(one.history),
    }
