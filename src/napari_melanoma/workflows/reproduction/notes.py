"""What stands below a table: by how much rows differ on the same images, and whether a control says nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from napari_melanoma.analysis.statistics import Estimate
from napari_melanoma.workflows.reproduction.found import PARTS, Found, in_part, parts_of
from napari_melanoma.workflows.reproduction.papers import Role

CHANCE = 0.5  # the AUC of answers that say nothing


def differences(found: Sequence[Found], metrics: Sequence[str], among: Sequence[Found] = ()) -> Iterator[str]:
    """Say by how much rows differ from those that they are compared with, image by image.

    A sentence for each pair, and for each part of the images where some were kept apart.
    """
    known = {item.row.name: item for item in among or found}
    for item in found:
        for other in (known[name] for name in item.row.file.against if name in known):
            for part in parts_of(item):
                of = changes(other, item, part)
                said = [f"{m} {_signed(of[m])}" for m in metrics if m in of]
                if said:
                    titles = f"{item.row.file.title} less {other.row.file.title}"
                    where = f", {PARTS[part]}" if part else ""
                    yield f"{titles}, on the same images{where}: {', '.join(said)}."


def changes(other: Found, item: Found, part: str = "") -> dict[str, Estimate]:
    """Estimate by how much a row is above another on the images of a part that both have.

    Metric to the difference, with an interval of the paired bootstrap; none where they share no image.
    """
    old, new = (
        {(image["domain"], image["image_id"]): image for image in in_part(one.images, part)} for one in (other, item)
    )
    both = [key for key in old if key in new]
    return item.row.kind.changes([old[key] for key in both], [new[key] for key in both]) if both else {}


def controls(found: Sequence[Found], roles: Mapping[str, Role]) -> Iterator[str]:
    """Say of rows that learn from answers dealt out at random whether they tell anything: they must not.

    A sentence for each of them, and for each part of the images.
    """
    for item in found:
        if roles[item.row.file.judged].control_of is None:
            continue
        for part in parts_of(item):
            area = item.row.kind.estimates(in_part(item.images, part)).get("AUC")
            if area is None:
                continue
            holds = area.low <= CHANCE <= area.high
            said = "holds 50, as it must" if holds else "does not hold 50: something tells the answers apart"
            where = f", {PARTS[part]}" if part else ""
            yield f"{item.row.file.title}{where}: AUC {_plain(area)}; its interval {said}."


def _signed(change: Estimate) -> str:
    """Write a difference in per cent."""
    return f"{100 * change.mean:+.1f} ({change.interval('+.1f', factor=100)})"


def _plain(estimate: Estimate) -> str:
    """Write an estimate in per cent."""
    return f"{100 * estimate.mean:.1f} ({estimate.interval('.1f', factor=100)})"
