"""What the docks show of an answer, as plain functions: rows of bars, and sentences beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.validity import NOT_VALID
from napari_melanoma.data.table_schema import column_named
from napari_melanoma.data.taxonomy import taxonomy
from napari_melanoma.ui.bars import Bar

if TYPE_CHECKING:
    from napari_melanoma.workflows.answer import Answer, Contribution

MOST_CLASSES = 7  # rows; what is left is one row more
LEAST_CHANGE = 0.02  # the scale of changes is never finer: a hundredth must not look like much
SHOWN_CHANGE = 0.005  # half of the last digit that is said


def class_title(word: str) -> str:
    """Say how people read a class.

    Returns as the taxonomy of diagnoses has it; else the word with spaces, its first letter a capital.
    """
    known = taxonomy("diagnosis")
    return known.title(word) if word in known.entries else _capital(word.replace("_", " "))


def field_title(name: str) -> str:
    """Say how people read a column."""
    column = column_named(name)
    return name.replace("_", " ").capitalize() if column is None else column.title


def class_bars(answer: Answer) -> list[Bar]:
    """Give a row for each class, the likeliest first; of many, the last rows are one.

    On a scale from 0 to 1; faint where the class can be ruled out.
    """
    order = sorted(zip(answer.classes, answer.probabilities, strict=True), key=lambda pair: -pair[1])
    if len(order) > MOST_CLASSES + 1:
        first = [pair for pair in order if pair[0] == answer.positive] + [
            pair for pair in order if pair[0] != answer.positive
        ]
        kept = set(first[:MOST_CLASSES])
        seen = [pair for pair in order if pair in kept]
    else:
        seen = order
    rows = [_class_bar(answer, name, probability) for name, probability in seen]
    left = len(order) - len(seen)
    if left:
        rest = sum(probability for name, probability in order) - sum(probability for name, probability in seen)
        tip = ", ".join(f"{class_title(name)} {value:.2f}" for name, value in order if (name, value) not in seen)
        rows.append(Bar(f"{left} others", f"{rest:.2f}", rest, faint=True, tip=tip))
    return rows


def _class_bar(answer: Answer, name: str, probability: float) -> Bar:
    """The row of one class."""
    asked, possible = name == answer.positive, name in answer.possible
    point = answer.operating_point if asked else None
    interval = answer.interval if asked else None
    told = [f"{class_title(name)}: probability {probability:.3f}"]
    if interval is not None:
        told[0] += f" ({interval[0]:.3f} to {interval[1]:.3f})"
    if answer.calibrated:
        said = "cannot be ruled out" if possible else "is ruled out"
        told.append(f"It {said} at {_percent(answer.coverage)} coverage.")
    if point is not None:
        told.append(f"Dotted line: the cut at {point.cut:.2f}.")
    mark = None if point is None else point.cut
    faint = answer.calibrated and not possible
    return Bar(class_title(name), f"{probability:.2f}", probability, interval, mark, asked, faint, "\n".join(told))


def change_bars(answer: Answer) -> tuple[list[Bar], float]:
    """Give a row for each column of the form: how much it adds to the probability of the class that is asked about.

    Returns list of Bar, the largest change first and columns that nobody filled in last; and the end of the scale,
    which goes as far to both sides.
    """
    changes = sorted(answer.contributions, key=lambda change: -abs(change.change))
    rows = [_change_bar(answer, change) for change in changes]
    rows += [
        Bar(field_title(name), "not known", faint=True, tip=f"{field_title(name)}: fill it in to see what it changes.")
        for name in answer.missing
    ]
    return rows, max((abs(change.change) for change in changes), default=0.0) * 1.1 + LEAST_CHANGE


def _change_bar(answer: Answer, change: Contribution) -> Bar:
    """The row of one column."""
    title, without = field_title(change.field), answer.probability - change.change
    said = "0" if abs(change.change) < SHOWN_CHANGE else f"{change.change:+.2f}".replace("-", "\N{MINUS SIGN}")
    tip = (
        f"If {title.lower()} were unknown, {class_title(answer.positive).lower()} would be {without:.2f} instead of "
        f"{answer.probability:.2f}."
    )
    return Bar(f"{title} {value_words(change.field, change.value)}", said, change.change, tip=tip)


def value_words(name: str, value: str) -> str:
    """Say what stands in a column.

    In lower case, as within a sentence.
    """
    column = column_named(name)
    if column is None or column.kind not in ("word", "yes_no"):
        return value
    words = taxonomy(column.taxonomy or "yes_no")
    return words.title(value).lower() if value in words.entries else value


def verdict(answer: Answer) -> str:
    """Say the answer in a sentence, its first letter a capital.

    Such as ``Inconclusive: melanoma 0.31 (95 % interval 0.20–0.44).``, or why it is not valid.
    """
    return _sentence(answer.verdict)


def side(answer: Answer) -> str:
    """Say on which side of the operating point the answer lies.

    A sentence; empty where the model has no operating point.
    """
    return _sentence(answer.side)


def warnings(answer: Answer) -> str:
    """Say what to be careful about.

    A sentence a line; empty where there is nothing to warn of.
    """
    return "\n".join(_sentence(said) for said in answer.warnings)


def about_form(answer: Answer) -> str:
    """Say what the picture alone would say, and what of the form went unused.

    Empty where the model looks at the picture alone and nothing was filled in.
    """
    said = []
    if answer.contributions:
        said.append(f"From the picture alone {class_title(answer.positive).lower()} would be {answer.from_image:.2f}.")
    if answer.unused:
        names = ", ".join(field_title(name).lower() for name in answer.unused)
        said.append(f"Not used by this model: {names}.")
    return " ".join(said)


def short(answer: Answer) -> str:
    """Say the answer in a few words for a row of a list.

    Such as ``melanoma 0.31 (95 % interval 0.20–0.44)``, or ``Not valid``.
    """
    return answer.number if answer.validity.valid else NOT_VALID


def _sentence(words: str) -> str:
    return f"{_capital(words).rstrip('.')}." if words else ""


def _capital(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"
