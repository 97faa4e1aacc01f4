"""What has changed in a report since it was signed: the tree that was signed is compared with the present one.

Signatures of earlier versions have a value for each of a few entries, which are read as blocks of the tree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from napari_melanoma.core.formatting import format_names
from napari_melanoma.depth.report_blocks import (
    ANALYSIS,
    CASE_COLUMNS,
    GROUPS,
    IMAGE_FILE,
    IMAGES,
    LESION,
    LESIONS,
    PICTURE,
    READING,
    SLIDE,
    SYNOPTIC,
    UNKNOWN_FILE,
    WITH_FILE,
    list_contradictions,
)
from napari_melanoma.depth.shown_blocks import (
    CHANGED,
    NOT_VERIFIED,
    BlockChange,
    Blocks,
    KeyPath,
    ShownBlock,
    compare_blocks,
    find_block,
    format_json,
    is_same_value,
)
from napari_melanoma.depth.synoptic import SynopticReport, format_stored_answer
from napari_melanoma.depth.synoptic_fields import FIELDS_BY_NAME

NOT_RECORDED = "What the report showed when it was signed was not recorded: whether it has changed since is unknown."
EARLIER = "Signed with an earlier version: only {} {} compared."
IN_WORDS = "Signed with an earlier version, which recorded words only: whether it has changed since is unknown."
ONLY_HASH = f"{CHANGED}: answers: which ones is unknown, as only a hash was recorded when signed."
CONTRADICTION = "Contradiction since the signature: {}"
ANSWERS = "answers"  # key of the answers in earlier signatures
DETAIL = "detail"  # key of the note on an answer
WORDS = "Breslow thickness"  # start of the label by which the first signatures have a formatted value
UNKNOWN_WORDS = ("unknown", "not measured")  # no value in earlier signatures
FIRST_ENTRIES = {  # entries of earlier signatures, and what they are called
    "slide_file": "slide file",
    "scale": "scale",
    "line": "line of the thickness",
    "breslow": "Breslow thickness",
    "ulceration": "ulceration",
    "clark": "Clark level",
    "mitoses": "mitoses",
    "mitosis_marks": "marks of mitoses",
    "mitosis_areas": "area of the mitoses",
    "lateral_margin": "peripheral margin",
    "deep_margin": "deep margin",
    "lesions": "lesions on the slide",
    "outlines": "classes and outlines of the lesions",
    "threshold": "threshold of the lesions",
    "model": "model",
    "probability": "probability of the slide",
    "tissue": "tissue",
    "analysis_scale": "scale of the analysis",
    "case_breslow": "Breslow thickness in the case",
    "case_ulceration": "ulceration in the case",
    "case_mitoses": "mitoses in the case",
    "case_site": "site in the case",
    "case_diagnosis": "diagnosis in the case",
    ANSWERS: "answers",
}


def list_changes_since_signature(
    report: SynopticReport, now: Blocks, unread: Collection[KeyPath] = ()
) -> tuple[str | BlockChange, ...]:
    """State each value that the signed report showed and that differs now, with both; empty if it is not signed.

    Also stated: values that were not in the signed report, contradictions that it did not have, and what cannot be
    compared. ``now``: what it shows now. ``unread``: keys of blocks that cannot be read now.
    """
    if not report.is_signed:
        return ()
    if not report.signed_report:
        return _list_earlier_changes(report, now, unread)
    signed, is_without_slide = report.signed_report, False
    if find_block(report.signed_report, SLIDE) is not None and find_block(now, SLIDE) is None:
        # Signed with a slide, and shown with its lesion, of which the slide is not known
        is_without_slide = True
        signed, now = (tuple(one for one in tree if one.key in (SYNOPTIC, LESION)) for tree in (signed, now))
    compared, missing = list[BlockChange](), list[KeyPath]()
    for change in compare_blocks(signed, now):
        if _is_copied(change, now) or _is_unrecorded(change, signed):
            continue
        found = _find_unread(change.path, unread)
        if found is None:
            compared.append(change)
        elif change.before is not None:
            missing.append(found)
    known = {one.key for one in list_contradictions(signed)}
    return (
        *compared,
        *(CONTRADICTION.format(one.text) for one in list_contradictions(now) if one.key not in known),
        *_state_missing(missing, signed),
        *([NOT_VERIFIED.format("slide")] if is_without_slide else []),
    )


def _is_copied(change: BlockChange, now: Blocks) -> bool:
    """Whether a finding of the lesion is new and that of the report, which was added to the case after signing."""
    key = change.path[-1]
    own = find_block(now, SYNOPTIC, key) if change.path[0] == LESION and key in CASE_COLUMNS else None
    if own is None or change.before is not None or change.after is None:
        return False
    return is_same_value(own.value, change.after.value)


def _is_unrecorded(change: BlockChange, signed: Blocks) -> bool:
    """Whether the signed report of an earlier version lacks the file of a photograph, and what is stated with it."""
    *image, key = change.path
    if image[:1] != [IMAGES] or len(image) != 2 or key not in WITH_FILE:
        return False
    file = find_block(signed, *image, IMAGE_FILE)
    return file is None or (key == IMAGE_FILE and file.value == UNKNOWN_FILE)


def _find_unread(path: KeyPath, unread: Collection[KeyPath]) -> KeyPath | None:
    return next((one for one in unread if path[: len(one)] == one), None)


def _state_missing(paths: Iterable[KeyPath], signed: Blocks = ()) -> Iterator[str]:
    """State once for each part of a report that it cannot be compared."""
    for path in dict.fromkeys(paths):
        block = find_block(signed, *path)
        label = GROUPS.get(path[0], path[0]) if len(path) == 1 else path[-1]
        yield NOT_VERIFIED.format(block.label if len(path) > 1 and block is not None else label)


def _list_earlier_changes(
    report: SynopticReport, now: Blocks, unread: Collection[KeyPath]
) -> tuple[str | BlockChange, ...]:
    """State the changes of what an earlier version has recorded with a signature, and that only this is compared."""
    values = report.signed_values
    if not values:
        return (NOT_RECORDED,)
    if any(name.startswith(WORDS) for name in values):
        return (IN_WORDS,)
    signed = {path: value for name, value in values.items() for path, value in _read_entry(name, value)}
    areas = find_block(now, ANALYSIS, "areas") if "tissue" in values else None
    signed = {(ANALYSIS, "areas", one.key, "mm2"): None for one in (areas.blocks if areas else ())} | signed
    is_lesion = find_block(now, SLIDE) is None
    changes, missing = list[str | BlockChange](), list[KeyPath]()
    for path, value in signed.items():
        after = find_block(now, *path)
        if is_lesion and path[0] not in (SYNOPTIC, LESION):
            continue
        if (found := _find_unread(path, unread)) is not None:
            missing += [found] if value is not None else []
            continue
        change = _compare_value(path, value, after)
        if change is not None and not _is_copied(change, now):
            changes.append(change)
    if isinstance(values.get(ANSWERS), str) and values[ANSWERS] != _digest_answers(report):
        changes.append(ONLY_HASH)
    of_lesion = {name for name in values if name.startswith("case_") or name == ANSWERS}
    compared = of_lesion if is_lesion else values.keys()
    names = [label for name, label in FIRST_ENTRIES.items() if name in compared]
    only = EARLIER.format(format_names(names, len(names)), "is" if len(names) == 1 else "are")
    return (*changes, *_state_missing(missing), only)


def _compare_value(path: KeyPath, value: Any, after: ShownBlock | None) -> BlockChange | None:  # noqa: ANN401 - JSON
    """Return the change of one value; None if it is the same. ``after`` may have a unit, which was not recorded."""
    label, is_private = _name_path(path), path[-1] == DETAIL
    if after is not None:
        after = after.model_copy(update={"unit": "", "blocks": (), "label": label, "key": path[-1]})
    before = ShownBlock(key=path[-1], label=label, value=value, text=_format_value(path, value), is_private=is_private)
    trees = [() if one is None or one.value is None else (one,) for one in (before, after)]
    found = next(iter(compare_blocks(*trees)), None)
    return None if found is None else BlockChange(path, label, found.before, found.after)


def _name_path(path: KeyPath) -> str:
    field = FIELDS_BY_NAME.get(path[1])
    names = path[-1:] if field is None else (field.label, *path[2:])
    return ", ".join((GROUPS[path[0]], *(one.replace("_", " ") for one in names)))


def _format_value(path: KeyPath, value: Any) -> str:  # noqa: ANN401 - JSON
    if value is None or value is True:
        return "" if value is None else "yes"
    if path[0] == SYNOPTIC and len(path) == 2 and path[1] in FIELDS_BY_NAME:
        return format_stored_answer(path[1], {"value": value})
    if isinstance(value, float) and path[1] in FIELDS_BY_NAME:
        return f"{value:.4g} {FIELDS_BY_NAME[path[1]].unit}".strip()
    return format_json(value)


def _read_entry(name: str, value: Any) -> Iterator[tuple[KeyPath, Any]]:  # noqa: ANN401 - JSON
    """Yield the keys and the value of each block that an entry of an earlier signature is about."""
    try:
        found = list(_convert_entry(name, value))
    except (AttributeError, LookupError, TypeError, ValueError):  # another program has changed it
        found = [((READING if name in FIELDS_BY_NAME else SLIDE, name), value)]
    yield from ((path, None if one in UNKNOWN_WORDS or one in ([], "") else one) for path, one in found)


def _convert_entry(name: str, value: Any) -> Iterator[tuple[KeyPath, Any]]:  # noqa: ANN401 - one case an entry
    match name:
        case "slide_file":
            yield (SLIDE, "file"), value
        case "scale":
            yield (SLIDE, "scale"), value
        case "line":
            yield (READING, PICTURE, "line"), value
        case "breslow" if isinstance(value, list):
            mm, at_least, *state = value
            yield (READING, "breslow"), mm if mm is not None else next(iter(state), None)
            yield (READING, "at_least"), at_least or None
        case "ulceration" | "clark":
            yield (READING, name), str(value).replace("not identified", "not_identified")
        case "mitoses":
            yield (READING, "mitotic_rate"), _known(value, "per_mm2", "state")
            yield (READING, "mitoses_counted"), _known(value, "counted", "count_state")
            yield (READING, "mitoses_area"), value.get("area_state")
        case "mitosis_marks":
            yield (READING, PICTURE, "marks"), value
        case "mitosis_areas":
            if value[0] is not None:
                yield (READING, "mitoses_area"), value[0]
            yield (READING, PICTURE, "areas"), value[1]
        case "lateral_margin" | "deep_margin":
            margin = "peripheral" if name == "lateral_margin" else "deep"
            yield (READING, f"{margin}_distance_invasive"), value
        case "lesions":
            yield from (((LESIONS, "summary", key), one) for key, one in (value or {"count": None}).items())
        case "outlines" | "threshold":
            yield (LESIONS, "summary", name), value
        case "model":
            yield (ANALYSIS, "origin", "model"), value
        case "probability":
            yield (ANALYSIS, "prediction", "probability"), value
        case "tissue":
            areas = value or {"": None}
            yield from (
                ((ANALYSIS, "areas", key, "mm2") if key else (ANALYSIS, "tissue"), one) for key, one in areas.items()
            )
        case "analysis_scale":
            yield (ANALYSIS, "origin", "scale"), value
        case "case_site":
            yield from (
                ((LESION, key), one) for key, one in zip(("laterality", "site", "sub_site"), value, strict=True)
            )
        case "case_diagnosis":
            yield (LESION, "diagnosis_detail"), value[0]
        case "case_breslow":
            yield (LESION, "breslow"), value
        case "case_ulceration":
            yield (LESION, "ulceration"), str(value).replace("not identified", "not_identified")
        case "case_mitoses":
            yield (LESION, "mitotic_rate"), value
        case "breslow":
            raise TypeError(value)
        case _ if name == ANSWERS and isinstance(value, Mapping):
            for field in FIELDS_BY_NAME:
                answer = value.get(field) or {}
                yield (SYNOPTIC, field), answer.get("value", answer.get("state"))
                yield (SYNOPTIC, field, "at_least"), answer.get("at_least") or None
                yield (SYNOPTIC, field, DETAIL), answer.get("detail")
                yield (SYNOPTIC, field, "source"), answer.get("confirmed_from")


def _known(value: Mapping[str, Any], key: str, state: str) -> Any:  # noqa: ANN401 - JSON
    return value[key] if value[key] is not None else value.get(state)


def _digest_answers(report: SynopticReport) -> str:
    suggested = {*report.suggested}
    answers = {name: answer for name, answer in report.stored_answers.items() if name not in suggested}
    return hashlib.sha256(json.dumps(answers, sort_keys=True).encode()).hexdigest()[:8]
