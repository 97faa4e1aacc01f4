"""Controlled vocabularies of the harmonized table: our words, their hierarchy, and translations of other words.

A taxonomy consists of two tables in this folder, which are edited by hand. ``<name>.csv`` lists our words (columns
``word``, ``parent``, ``title``, and further facts). ``<name>_synonyms.csv`` translates words of other tables
(``source``) to ours (``target``); a ``data_set`` limits a translation to one public set, ``language`` is for
information only. Every taxonomy also has the word ``unknown``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from napari_melanoma.core.csv_files import read_csv_dicts
from napari_melanoma.core.errors import InputError

UNKNOWN = "unknown"
TAXONOMY_FOLDER = Path(__file__).parent
OWN_COLUMNS = ("word", "parent", "title")
# A taxonomy and the finer one whose words have their parents in it
SUBTAXONOMIES = {"site": "sub_site"}


class TaxonomyWord(NamedTuple):
    """One of our words: its parent ("" for none), displayed title, and further facts of its row."""

    word: str
    parent: str
    title: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Taxonomy:
    """Our words for one column, and the translations of other words to them.

    ``entries``: our word to its entry. ``translations``: source ("" for any) and normalized word to our word.
    """

    name: str
    entries: Mapping[str, TaxonomyWord]
    translations: Mapping[tuple[str, str], str] = field(repr=False)

    @property
    def words(self) -> tuple[str, ...]:
        """Our words in the order of display; the last is ``unknown``."""
        return tuple(self.entries)

    def parent(self, word: str) -> str:
        """Return the parent of a word, "" if it has none."""
        return self.entries[word].parent

    def title(self, word: str) -> str:
        return self.entries[word].title

    def fact(self, word: str, name: str) -> str:
        """Return another fact of a word from the table, "" if there is none."""
        return self.entries[word].facts.get(name, "")

    def iter_ancestors(self, word: str) -> Iterator[str]:
        """Yield the word, its parent, and so on."""
        while word in self.entries:
            yield word
            word = self.parent(word)

    def is_within(self, word: str, above: str) -> bool:
        return above in self.iter_ancestors(word)

    def translate(self, foreign_word: str, source: str = "") -> str | None:
        """Translate a word of another table to ours; ``unknown`` if it means that, None if it is not known.

        A word with a question mark is not known: ``melanoma?`` is a suspicion.
        """
        if not normalize_wording(foreign_word):
            return UNKNOWN
        if "?" in foreign_word:
            return None
        words = normalized_spellings(foreign_word)
        source_targets = (self.translations.get((source, word)) for word in words) if source else ()
        candidates = (*source_targets, *(self.translations.get(("", word)) for word in words))
        return next((target for target in candidates if target), None)


@cache
def load_taxonomy(name: str) -> Taxonomy:
    if name not in list_taxonomies():
        raise InputError(f"there is no taxonomy named '{name}' (known: {', '.join(list_taxonomies())}).")
    entries: dict[str, TaxonomyWord] = {}
    for row in read_taxonomy_rows(TAXONOMY_FOLDER / f"{name}.csv"):
        word, facts = row["word"], {column: text for column, text in row.items() if column not in OWN_COLUMNS}
        entries[word] = TaxonomyWord(word, row["parent"], row["title"] or word[:1].upper() + word[1:], facts)
    entries[UNKNOWN] = TaxonomyWord(UNKNOWN, "", "Unknown", {})
    parents = next((load_taxonomy(above).entries for above, below in SUBTAXONOMIES.items() if below == name), entries)
    orphans = [entry.word for entry in entries.values() if entry.parent and entry.parent not in parents]
    if orphans:
        raise InputError(f"the taxonomy {name} has words whose parents do not exist: {', '.join(orphans)}.")
    return Taxonomy(name, entries, _read_translations(name, entries))


@cache
def list_taxonomies() -> tuple[str, ...]:
    """List the taxonomies in alphabetical order."""
    return tuple(
        sorted(
            path.stem
            for path in TAXONOMY_FOLDER.glob("*.csv")
            if (TAXONOMY_FOLDER / f"{path.stem}_synonyms.csv").is_file()
        )
    )


def read_taxonomy_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a taxonomy table: column to text, "" if a cell is missing."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [{key: (text or "").strip() for key, text in row.items()} for row in read_csv_dicts(file)]


def _read_translations(name: str, entries: Mapping[str, TaxonomyWord]) -> dict[tuple[str, str], str]:
    """Map source and normalized word to our word; our words and the words for ``unknown`` are included."""
    translations: dict[tuple[str, str], str] = {}
    for row in _iter_translations(name):
        if row["target"] not in entries:
            raise InputError(
                f"{name}_synonyms.csv translates '{row['source']}' as '{row['target']}', which is not in {name}.csv."
            )
        for word in normalized_spellings(row["source"]):
            target = translations.setdefault((row["data_set"], word), row["target"])
            if target != row["target"]:
                raise InputError(
                    f"{name}_synonyms.csv translates '{row['source']}' twice: as {target} and {row['target']}."
                )
    return translations | {("", normalize_wording(word)): word for word in entries}


def _iter_translations(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows that translate words; a word of the subtaxonomy translates to its parent."""
    yield from read_taxonomy_rows(TAXONOMY_FOLDER / "unknown_synonyms.csv")
    yield from read_taxonomy_rows(TAXONOMY_FOLDER / f"{name}_synonyms.csv")
    if name in SUBTAXONOMIES:
        below = read_taxonomy_rows(TAXONOMY_FOLDER / f"{SUBTAXONOMIES[name]}.csv")
        parents = {row["word"]: row["parent"] for row in below}
        yield from ({"source": word, "target": parent, "data_set": ""} for word, parent in parents.items())
        for row in read_taxonomy_rows(TAXONOMY_FOLDER / f"{SUBTAXONOMIES[name]}_synonyms.csv"):
            yield {**row, "target": parents[row["target"]]}


_NEGATIVE = re.compile(r"\s*-\d+(?:\.\d+)?\s*")  # -1 is not 1
_SEPARATORS = re.compile(r"[^\w/+<>.]+|_+")
# Letters without a separable accent
_SINGLE_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l"})
_SPELLED_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


@lru_cache(maxsize=4096)
def normalize_wording(word: str) -> str:
    """Normalize a word: lower case without accents, parts separated by single spaces."""
    if _NEGATIVE.fullmatch(word):
        return word.strip()
    decomposed = unicodedata.normalize("NFKD", word.lower().translate(_SINGLE_LETTERS))
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return _SEPARATORS.sub(" ", letters).strip(" .")


def normalized_spellings(word: str) -> tuple[str, ...]:
    """Return the one or two normalized spellings of a word: umlauts as plain letters, and spelled out with an e."""
    composed = unicodedata.normalize("NFC", word.lower())
    return tuple(dict.fromkeys((normalize_wording(word), normalize_wording(composed.translate(_SPELLED_OUT)))))
