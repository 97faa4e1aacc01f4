"""The words of the table: which there are, which is part of which, and what the words of others mean in them.

Each taxonomy is two tables beside this file that a person reads and corrects: ``<name>.csv`` has our words
(``word``, ``parent``, ``title``, and what else is said of them), ``<name>_words.csv`` has those of others (``theirs``,
``ours``; ``source`` where only one source means it so, ``language``). ``unknown`` is a word of every taxonomy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from napari_melanoma.core.csv_files import read_csv_dicts
from napari_melanoma.core.errors import InputError
from napari_melanoma.data.taxonomy.wording import normalize_wording, normalized_spellings

UNKNOWN = "unknown"
TAXONOMY_FOLDER = Path(__file__).parent
OWN_COLUMNS = ("word", "parent", "title")
SUBTAXONOMIES = {"site": "sub_site"}  # a word of the taxonomy below means its parent in the one above


@dataclass(frozen=True)
class TaxonomyWord:
    """One of our words: the word above it ("" for none), what people read, and what else its row says."""

    word: str
    parent: str
    title: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class Taxonomy:
    """Our words of one kind and what others say for them."""

    name: str
    entries: Mapping[str, TaxonomyWord]
    translations: Mapping[tuple[str, str], str] = field(repr=False)

    @property
    def words(self) -> tuple[str, ...]:
        """All of them in the order in which people should read them; the last is ``unknown``."""
        return tuple(self.entries)

    def parent(self, word: str) -> str:
        """Name the word above one.

        Returns "" where there is none above it.
        """
        return self.entries[word].parent

    def title(self, word: str) -> str:
        """Say how people read a word."""
        return self.entries[word].title

    def fact(self, word: str, name: str) -> str:
        """Say what else the table tells of a word.

        Returns "" where it tells nothing.
        """
        return self.entries[word].facts.get(name, "")

    def iter_ancestors(self, word: str) -> Iterator[str]:
        """Go up from a word.

        Yields the word, the one above it, and so on.
        """
        while word in self.entries:
            yield word
            word = self.parent(word)

    def is_within(self, word: str, above: str) -> bool:
        """Tell whether a word is another one or lies below it.

        True also where both are the same.
        """
        return above in self.iter_ancestors(word)

    def translate(self, foreign_word: str, source: str = "") -> str | None:
        """Say a word of others in ours.

        One of ``words``; ``unknown`` where they say that nobody knows, None where the word is not in the table.
        """
        if not normalize_wording(foreign_word):
            return UNKNOWN
        words = normalized_spellings(foreign_word)
        of_source = (self.translations.get((source, word)) for word in words) if source else ()
        found = (*of_source, *(self.translations.get(("", word)) for word in words))
        return next((ours for ours in found if ours), None)


@cache
def load_taxonomy(name: str) -> Taxonomy:
    """Read a taxonomy."""
    if name not in list_taxonomies():
        raise InputError(f"there is no taxonomy named '{name}' (known: {', '.join(list_taxonomies())}).")
    entries = {row["word"]: _make_word(row) for row in read_taxonomy_rows(TAXONOMY_FOLDER / f"{name}.csv")}
    entries[UNKNOWN] = TaxonomyWord(UNKNOWN, "", "Unknown", {})
    parents = next((load_taxonomy(above).entries for above, below in SUBTAXONOMIES.items() if below == name), entries)
    strange = [entry.word for entry in entries.values() if entry.parent and entry.parent not in parents]
    if strange:
        raise InputError(f"the taxonomy {name} names parents that are not there, for: {', '.join(strange)}.")
    return Taxonomy(name, entries, _read_translations(name, entries))


@cache
def list_taxonomies() -> tuple[str, ...]:
    """Name the taxonomies.

    In alphabetical order.
    """
    return tuple(
        sorted(
            path.stem
            for path in TAXONOMY_FOLDER.glob("*.csv")
            if (TAXONOMY_FOLDER / f"{path.stem}_words.csv").is_file()
        )
    )


def read_taxonomy_rows(path: Path) -> list[dict[str, str]]:
    """Read one of the tables of this folder.

    Column to text, "" where a cell is missing.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [{key: (text or "").strip() for key, text in row.items()} for row in read_csv_dicts(file)]


def _make_word(row: Mapping[str, str]) -> TaxonomyWord:
    """A word of ours; without a title it is its own."""
    word = row["word"]
    facts = {column: text for column, text in row.items() if column not in OWN_COLUMNS}
    return TaxonomyWord(word, row["parent"], row["title"] or word[:1].upper() + word[1:], facts)


def _read_translations(name: str, entries: Mapping[str, TaxonomyWord]) -> dict[tuple[str, str], str]:
    """Their words to ours; ours mean themselves, and the words of ``unknown`` belong to every taxonomy."""
    found: dict[tuple[str, str], str] = {}
    for row in _iter_translations(name):
        if row["ours"] not in entries:
            raise InputError(
                f"{name}_words.csv says '{row['ours']}' for '{row['theirs']}': {name}.csv has no such word."
            )
        for word in normalized_spellings(row["theirs"]):
            ours = found.setdefault((row["source"], word), row["ours"])
            if ours != row["ours"]:
                raise InputError(f"{name}_words.csv says two things of '{row['theirs']}': {ours} and {row['ours']}.")
    return found | {("", normalize_wording(word)): word for word in entries}


def _iter_translations(name: str) -> Iterator[dict[str, str]]:
    """The words of others for a taxonomy, and those for the one below it."""
    yield from read_taxonomy_rows(TAXONOMY_FOLDER / "unknown_words.csv")
    yield from read_taxonomy_rows(TAXONOMY_FOLDER / f"{name}_words.csv")
    if name in SUBTAXONOMIES:
        below = read_taxonomy_rows(TAXONOMY_FOLDER / f"{SUBTAXONOMIES[name]}.csv")
        parents = {row["word"]: row["parent"] for row in below}
        yield from ({"theirs": word, "ours": parent, "source": ""} for word, parent in parents.items())
        for row in read_taxonomy_rows(TAXONOMY_FOLDER / f"{SUBTAXONOMIES[name]}_words.csv"):
            yield {**row, "ours": parents[row["ours"]]}
