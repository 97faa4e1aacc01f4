"""The sections of a report on the changes of a lesion over time, and on its predictions side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from napari_melanoma.case.changes import compare_images, list_follow_ups
from napari_melanoma.core.context import BATCH_ERRORS
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.reports.disclosure import format_days_later
from napari_melanoma.reports.page import Block, Gallery, Notice, Section, Table, Text
from napari_melanoma.reports.pictures import draw_photograph, make_figure

if TYPE_CHECKING:
    from napari_melanoma.case.changes import ImagePair
    from napari_melanoma.case.fusion import FusedCase
    from napari_melanoma.case.model import CaseLesion
    from napari_melanoma.lesion.changes import LesionChanges
    from napari_melanoma.reports.collector import Collector


def changes_sections(lesion: CaseLesion, collector: Collector) -> Iterator[Section]:
    """Yield the comparison of the first and the last photograph of each modality."""
    for pair in list_follow_ups(lesion):
        names = (f"Image {pair.first.id.removeprefix('I')}", f"Image {pair.second.id.removeprefix('I')}")
        subtitle = f"{names[1]}, {format_days_later(pair.first.taken_on, pair.second.taken_on)} than {names[0].lower()}"
        if collector.personal:
            subtitle += f" ({pair.first.taken_on} and {pair.second.taken_on})"
        yield Section("Change over time", _compare(pair, names, collector), subtitle)


def _compare(pair: ImagePair, names: tuple[str, str], collector: Collector) -> tuple[Block, ...]:
    """Return the comparison of two photographs, or why there is none."""
    both = " and ".join(names)
    try:
        return _comparison_blocks(compare_images(pair, collector.run), names)
    except BATCH_ERRORS:
        raise
    except InputError:  # its message contains file names, and the problem is named with the photograph
        return (Notice(f"{both} cannot be compared: one of them or its contour is not usable."),)
    except MelanomaError as error:
        return (Notice(f"{both} cannot be compared: {error}"),)
    except Exception as error:  # noqa: BLE001 - any error concerns this comparison only; the others continue
        return (collector.add_problem(both, "cannot be compared: an unexpected error occurred.", error),)


def _comparison_blocks(found: LesionChanges, names: tuple[str, str]) -> tuple[Block, ...]:
    """Return cautions, both photographs in registration, and the table of changes."""
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
    notes = (Text(note, quiet=True) for note in found.notes)
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
