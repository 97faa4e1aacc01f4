"""What the rows of a reproduction found, read back from its folder, and which of our sets stand beside the paper's."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.overlap import METRICS
from napari_melanoma.analysis.statistics import Estimate, bootstrap_means
from napari_melanoma.workflows.reproduce_data import source_of
from napari_melanoma.workflows.reproduce_papers import Row
from napari_melanoma.workflows.reproduce_reduced import reduced
from napari_melanoma.workflows.reproduce_rows import JUDGEMENT, Work, judged_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Found:
    """How a row did.

    Parameters
    ----------
    row : Row
        The row.
    threshold : float
        From which probability on a pixel is lesion.
    images : list of dict
        What each image gave, as ``per_image.csv`` has it.
    parameters : int or None
        Of the network that was trained.
    reduced : str
        What is less than in the paper.
    """

    row: Row
    threshold: float
    images: list[dict[str, str]]
    parameters: int | None
    reduced: str

    def estimates(self, domains: Sequence[str] | None = None) -> dict[str, Estimate]:
        """Estimate every metric.

        Parameters
        ----------
        domains : sequence of str, optional
            Only images of these data sets.

        Returns
        -------
        dict
            Metric to its mean, 0 to 1, with a 95 % interval over patients or lesions.
        """
        images = [image for image in self.images if domains is None or image["domain"] in domains]
        return estimates_of(np.array([[float(image[name]) for name in METRICS] for image in images]), images)

    def remark(self, domains: Sequence[str] | None = None) -> str:
        """Say where a figure is none to trust: a model that finds nothing has learnt nothing.

        Parameters
        ----------
        domains : sequence of str, optional
            Only images of these data sets.

        Returns
        -------
        str
            Empty where it found a lesion in most images.
        """
        images = [image for image in self.images if domains is None or image["domain"] in domains]
        none = sum(image.get("found") == "0" for image in images)
        if 2 * none < len(images) or not images:
            return ""
        learnt = ": learnt nothing" if none == len(images) and self.parameters else ""
        return f"found no lesion in {none} of {len(images)}{learnt}"


@dataclass(frozen=True)
class Line:
    """A line of a table: a row on one of the paper's sets, on ours, or on both where they are the same.

    Parameters
    ----------
    found : Found
        How the row did.
    sets : tuple of str
        The paper's sets whose figures stand beside ours.
    domains : tuple of str
        Data sets of ours; none: only the paper's figures.
    """

    found: Found
    sets: tuple[str, ...]
    domains: tuple[str, ...]

    def paper(self, metric: str) -> str:
        """Give the paper's figure, of each of its sets.

        Parameters
        ----------
        metric : str
            ``"T"`` or a metric.

        Returns
        -------
        str
            Empty where it has none.
        """
        figures = [(name, self.found.row.file.paper[name].get(metric)) for name in self.sets]
        known = [(name, f"{figure:.2f}") for name, figure in figures if figure is not None]
        return ", ".join(f"{figure} ({name})" if name and len(known) > 1 else figure for name, figure in known)


def collect(work: Work) -> list[Found]:
    """Read what the rows found so far.

    Parameters
    ----------
    work : Work
        Of the reproduction.

    Returns
    -------
    list of Found
        Rows that were judged, in the paper's order.
    """
    paper, plan, place, found = work.paper, work.plan, work.place, []
    for planned in plan.rows:
        file = place.judged(planned.name) / JUDGEMENT
        if not file.is_file():
            continue
        row = paper.row(planned.name)
        maker = row if row.file.model_of is None else paper.row(row.file.model_of)
        found.append(
            Found(
                row,
                float(json.loads(file.read_text(encoding="utf-8"))["threshold"]),
                judged_rows(place, row.name),
                plan.row(maker.name).parameters,
                reduced(maker, paper, work.data, place),
            )
        )
    return found


def lines(found: Sequence[Found]) -> Iterator[Line]:
    """Put our data sets beside the paper's.

    Parameters
    ----------
    found : sequence of Found
        Rows.

    Yields
    ------
    Line
        One for each set that both have; and one for our other sets together, beside the paper's other ones.
    """
    for item in found:
        ours = sorted({image["domain"] for image in item.images})
        same = {name: d for name in item.row.file.paper for d in ours if name and source_of(d) == source_of(name)}
        for name, domain in same.items():
            yield Line(item, (name,), (domain,))
        others = tuple(domain for domain in ours if domain not in same.values())
        sets = tuple(name for name in item.row.file.paper if name not in same)
        if others or sets:
            yield Line(item, sets, others)


def estimates_of(
    table: NDArray[np.float64], images: Sequence[Mapping[str, str]], bounds: tuple[float, float] = (0, 1)
) -> dict[str, Estimate]:
    """Estimate every metric over patients or lesions.

    Parameters
    ----------
    table : numpy.ndarray
        float64 (image, metric), in the order of ``METRICS``.
    images : sequence of mapping
        The images, each with its ``group``.
    bounds : tuple of float
        What a figure can be at least and at most.

    Returns
    -------
    dict
        Metric to its mean with a 95 % interval.
    """
    groups = [image["group"] for image in images]
    return dict(zip(METRICS, bootstrap_means(table, groups, bounds=bounds), strict=True))
