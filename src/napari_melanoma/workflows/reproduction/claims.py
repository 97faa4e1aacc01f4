"""What a paper's text says of its rows, held against its own table and against ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from napari_melanoma.workflows.reproduction.found import Found
from napari_melanoma.workflows.reproduction.papers import Claim, Paper


def claims(paper: Paper, found: Sequence[Found]) -> list[str]:
    """Say of each claim whether the paper's own figures bear it out, and whether ours do.

    A sentence or two for each claim.
    """
    return [
        " ".join([f"The paper's text says that {claim.said}.", *_in_table(paper, claim), *_in_ours(claim, found)])
        for claim in paper.file.claims
    ]


def _in_table(paper: Paper, claim: Claim) -> Iterator[str]:
    """Hold a claim against the paper's table."""
    figures = {name: _figures(paper, name) for name in (claim.row, *claim.over)}
    wrong = {
        metric: max(figures[name][metric] for name in claim.over)
        for metric in claim.metrics
        if any(figures[name].get(metric, 0) > figures[claim.row].get(metric, 0) for name in claim.over)
    }
    if wrong:
        said = ", ".join(f"{m} {best:.2f} against {figures[claim.row][m]:.2f}" for m, best in wrong.items())
        yield f"Its own table says otherwise: {said}."
    else:
        yield "Its own table says so too."


def _figures(paper: Paper, name: str) -> Mapping[str, float]:
    """Read the paper's figures of a row; one that stands for several encoders has those of any of them."""
    alike = [row for row in paper.rows.values() if row.name == name or row.name.startswith(f"{name}-")]
    return next((figures for row in alike for figures in row.file.paper.values()), {})


def _in_ours(claim: Claim, found: Sequence[Found]) -> Iterator[str]:
    """Hold a claim against what was found here, on all images together."""
    ours = {item.row.name: item.estimates for item in found if item.row.name in (claim.row, *claim.over)}
    if len(ours) <= len(claim.over):
        return
    row = ours[claim.row]
    better = [m for m in claim.metrics if m in row and all(row[m].mean > ours[name][m].mean for name in claim.over)]
    known = [m for m in claim.metrics if m in row]
    if len(better) == len(known):
        yield "Here it is so in all of them, on all images together; the intervals say how far that can be trusted."
    else:
        others = ", ".join(f"{m} {100 * row[m].mean:.1f}" for m in known if m not in better)
        yield f"Here, on all images together, it is so in {', '.join(better) or 'none of them'}, not in {others}."
