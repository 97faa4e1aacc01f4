"""Which images of an evaluation belong together: by what their data set says of them, and by what was measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.difficulty import TRAITS
from napari_melanoma.data.dataset import TABLES
from napari_melanoma.data.harmonise import Harmoniser
from napari_melanoma.data.table_file import each_table_row
from napari_melanoma.workflows.evaluation import REFERENCE_SHARE, Figures

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZES = (("small", 0.0, 0.05), ("medium", 0.05, 0.25), ("large", 0.25, 1.1))
SIZE = "size of the lesion"
SIZE_WORDS = "small: under 5 % of the image; large: 25 % or more"
ASKED = {"site": "site", "fitzpatrick": "Fitzpatrick type"}
MOST_VALUES = 12  # of one column; the rarer ones are taken together
REST, NONE = "others", "not known"

Known = Mapping[tuple[str, str], tuple[str, ...]]
"""What the tables say: name of the data set and of the image to one word for each of ``ASKED``."""


def known_of(folders: Sequence[Path]) -> Known:
    """Read site and skin type of every image, where the data sets say them.

    In our words, "" where it is not known.
    """
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for folder in folders:
        table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
        harmoniser = Harmoniser()
        for row in each_table_row(table) if table else ():
            said = harmoniser.row(row)
            found[folder.name, row["image_id"]] = tuple(intern(said.get(column, "")) for column in ASKED)
    return found


def subgroups(figures: Figures, known: Known) -> Iterator[tuple[str, str, str, NDArray[np.intp]]]:
    """Divide the images of each data set, in several ways.

    Data set, what it is divided by, and the value that the images have in common. Int (image,): the images. A way that
    would not divide a data set is left out.
    """
    measured = figures.measured
    domains = np.array([figures.samples[place].domain for place in measured])
    for domain in np.unique(domains):
        places = measured[domains == domain]
        for by, values in _ways(figures, places, known):
            words = [word for word, _ in Counter(values.tolist()).most_common()]
            if len(words) > 1:
                for word in _ordered(words):
                    yield str(domain), by, word, places[values == word]


def _ways(figures: Figures, places: NDArray[np.intp], known: Known) -> Iterator[tuple[str, NDArray[np.str_]]]:
    """Ways to divide images, each with the word of every image."""
    samples = [figures.samples[place] for place in places]
    yield "diagnosis", few_words(sample.diagnosis or NONE for sample in samples)
    share = figures.column(REFERENCE_SHARE)[places]
    yield SIZE, np.select([share < most for _, _, most in SIZES], [name for name, *_ in SIZES], SIZES[-1][0])
    said = [known.get((sample.domain, sample.image_id), ("",) * len(ASKED)) for sample in samples]
    for index, name in enumerate(ASKED.values()):
        yield name, few_words(words[index] or NONE for words in said)
    for trait in TRAITS:
        values = figures.column(trait.name)[places]
        has = values >= trait.limit if trait.above else values < trait.limit
        yield trait.label, np.where(np.isnan(values), NONE, np.where(has, "yes", "no"))


def few_words(words: Iterator[str]) -> NDArray[np.str_]:
    """Keep the most frequent words, and one for all the others.

    Str (image,): of more than 12 words the rarer ones are *others*.
    """
    given = list(words)
    kept = {word for word, _ in Counter(given).most_common(MOST_VALUES)}
    return np.array([word if word in kept else REST for word in given])


def _ordered(words: Sequence[str]) -> list[str]:
    """Sort the values of one way: sizes by size, words by the alphabet, what is not known last."""
    sizes = [name for name, *_ in SIZES]
    return sorted(words, key=lambda word: (word in (REST, NONE), sizes.index(word) if word in sizes else 0, word))
