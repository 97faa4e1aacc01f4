"""The figures of rows of classification: ROC curves, confusion matrices, reliability, and a few answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.report.reproduction import draw_samples
from napari_melanoma.report.reproduction_answers import Answers, draw_confusion, draw_reliability, draw_roc
from napari_melanoma.report.reproduction_page import Picture
from napari_melanoma.workflows.reproduction.found import Found, Line, lines, of_tables
from napari_melanoma.workflows.reproduction.kinds.classification import pool
from napari_melanoma.workflows.reproduction.papers import PaperTable
from napari_melanoma.workflows.reproduction.place import Work

POOLED = "All folds together; each image is answered by the network that has not seen its fold."
CUT = "{} is said at a probability of one half, as in the papers, not at the operating point."
BINS = "Ten bins of as many images each, with 95 % intervals (Wilson 1927)."
SHOWN = "As many {} as others of each data set, as the networks see them; a black frame: rightly not said."


@dataclass(frozen=True, eq=False)
class _Shown:
    """The answers of a row to a test set, and whether a network gave them."""

    of: str
    answers: Answers
    network: bool

    @property
    def varies(self) -> bool:
        """Whether there is more than one answer, without which there is no curve."""
        return len(set(self.answers.probability)) > 1

    @property
    def whole(self) -> Answers:
        """With the test set in the title."""
        return replace(self.answers, title=f"{self.answers.title}\non {self.of}")


def draw_answers(work: Work, found: Sequence[Found]) -> list[Picture]:
    """Draw the figures of each table of classifiers.

    In the order in which they are read.
    """
    pictures: list[Picture] = []
    for name, table, rows in of_tables(work.paper, found):
        shown = [_shown(line) for line in lines(rows) if line.domains]
        pictures += [*_draw_table(work, name, table, shown), *_draw_samples(work, name, table, rows)]
    return pictures


def _shown(line: Line) -> _Shown:
    """Read the answers of a line of a table."""
    pooled, row = pool(line.found.images), line.found.row
    area = line.found.estimates.get("AUC")
    said = "" if area is None else f"{100 * area.mean:.1f} ({area.interval('.1f', factor=100)})"
    answers = Answers(row.file.title, pooled.truth, pooled.probability, said)
    return _Shown(", ".join(line.named), answers, row.file.answers == "network")


def _draw_table(work: Work, name: str, table: PaperTable, shown: Sequence[_Shown]) -> Iterable[Picture]:
    """Draw the figures of a table."""
    roc, matrices, bins = (work.place.figures / f"{kind}-{name}.png" for kind in ("roc", "confusion", "reliability"))
    sets = dict.fromkeys(one.of for one in shown if one.varies)
    if sets:
        draw_roc({of: [one.answers for one in shown if one.of == of and one.varies] for of in sets}, roc)
        yield Picture(f"ROC curves: {table.title}", roc, POOLED)
    target = work.paper.file.target
    draw_confusion([one.whole for one in shown], matrices, name=target)
    yield Picture(f"Confusion matrices: {table.title}", matrices, CUT.format(target.capitalize()))
    if networks := [one.whole for one in shown if one.network and one.varies]:
        draw_reliability(networks, bins, name=target)
        yield Picture(f"What probabilities are worth: {table.title}", bins, BINS)


def _draw_samples(work: Work, name: str, table: PaperTable, rows: Sequence[Found]) -> Iterable[Picture]:
    """Draw the answers of the networks of a table to a few images."""
    answers = {}
    for item in rows:
        folder = work.place.row(item.row.name).pictures
        if item.row.file.answers == "network" and folder.is_dir():
            paths = sorted(folder.rglob("*.png"))
            names = (path.relative_to(folder).with_suffix("").as_posix() for path in paths)
            answers[item.row.file.title] = dict(zip(names, (read_photograph(path).rgb for path in paths), strict=True))
    if answers:
        path = work.place.figures / f"samples-{name}.png"
        sets = ", ".join(dict.fromkeys(set_ for images in work.crossed.values() for set_ in images.names))
        draw_samples(answers, sets, path)
        yield Picture(f"Sample answers: {table.title}", path, SHOWN.format(work.paper.file.positives))
