"""The sections of a report on the changes of a lesion over time, and on its predictions side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from napari_melanoma.case.changes import compare_images, list_follow_ups
from napari_melanoma.core.context import BATCH_ERRORS
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.lesion.changes import BORDER_SHIFT
from napari_melanoma.reports.disclosure import format_days_later
from napari_melanoma.reports.page import Block, Gallery, Notice, Section, Table, Text
from napari_melanoma.reports.pictures import draw_photograph, make_figure

if TYPE_CHECKING:
    from napari_melanoma.case.changes import ImagePair
    from napari_melanoma.case.fusion import FusedCase
    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.changes import LesionChanges

INTERVALS = (
    f"Intervals: the change if the border of each contour is {100 * BORDER_SHIFT:.0f} % of the lesion's diameter "
    "outside or inside of where it is drawn, with the uncertainty of the registration and of the light. They are no "
    "confidence intervals. There is no clear change where the interval includes 0."
)
RELATIVE = "The photographs do not both have a scale: sizes are relative to the first one, after registration."


def changes_sections(lesion: CaseLesion, run: RunContext, *, personal: bool) -> Iterator[Section]:
    """Yield the comparison of the first and the last photograph of each modality."""
    for pair in list_follow_ups(lesion):
        names = (f"Image {pair.first.id.removeprefix('I')}", f"Image {pair.second.id.removeprefix('I')}")
        subtitle = f"{names[1]}, {format_days_later(pair.first.taken_on, pair.second.taken_on)} than {names[0].lower()}"
        if personal:
            subtitle += f" ({pair.first.taken_on} and {pair.second.taken_on})"
        yield Section("Change over time", _compare(pair, names, run), subtitle)


def _compare(pair: ImagePair, names: tuple[str, str], run: RunContext) -> tuple[Block, ...]:
    """Return the comparison of two photographs, or why there is none."""
    try:
        found = compare_images(pair, run)
    except BATCH_ERRORS:
        raise
    except InputError:  # its message contains file names, and the problem is named with the photograph
        return (Notice(f"{names[0]} and {names[1]} cannot be compared: one of them or its contour is not usable."),)
    except MelanomaError as error:
        return (Notice(f"{names[0]} and {names[1]} cannot be compared: {error}"),)
    pictures = found.pictures
    figures = (
        (pictures.first, pictures.first_mask, names[0], "Contour"),
        (pictures.second, pictures.second_mask, names[1], f"Registered, with the light of {names[0].lower()}"),
    )
    gallery = Gallery(
        tuple(
            make_figure(
                draw_photograph(rgb, pictures.pixel_size, mask),
                f"{name} with the contour of the lesion in yellow",
                f"{name}: {caption.lower()}",
            )
            for rgb, mask, name, caption in figures
        )
    )
    notes = (Text(INTERVALS, quiet=True), *(() if found.is_scaled else (Text(RELATIVE, quiet=True),)))
    return (*map(Notice, found.cautions), gallery, changes_table(found, names), *notes)


def changes_table(found: LesionChanges, names: tuple[str, str]) -> Table:
    """Return the changes as a table."""
    rows = tuple((one.title, *one.values, one.text, one.conclusion) for one in found.changes)
    return Table("Changes", ("Measurement", *names, "Change (interval)", "Conclusion"), rows)


def fusion_section(fused: FusedCase) -> Section:
    """Return the predictions from photographs, slide and patient data in one table."""
    rows = tuple((one.part, one.outcome, one.value, one.effect) for one in fused.parts)
    columns = ("Part", "Predicts", "Probability (interval)", "Effect on the probability")
    table = Table("Predictions from photographs, slide and patient data", columns, rows)
    return Section("Photographs, slide and patient data", (table, Notice(fused.reason)))
