"""Texts avoid dialect, personified software and British spelling; CONTRIBUTING.md has the rules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = [*(REPOSITORY / name for name in ROOT_PAGES), *sorted((REPOSITORY / "docs").rglob("*.md"))]

# Phrase to avoid: what to write instead.
PHRASES = {
    r"\b(?:is|are|was|were|be|been) told\b": "reported, stated, predicted",
    r"\btells?\b(?! (?:you|your|the user))": "predicts, states, distinguishes",
    r"\bnobody\b|\bsomebody\b|\banybody\b|\bwhoever\b": "users, a user, unknown",
    r"\banew\b": "again",
    r"\bof before\b|\bthe answer of\b": "previous, outdated",
    r"\b(?:put|set|leave|left) aside\b": "backed up, validation set, excluded",
    r"\bstands? (?:for|back|behind)\b": "represents, is",
    r"\bhears?\b|\bheard\b": "receives, detects",
    r"\bunlike all\b|\blooks unlike\b": "out of distribution",
    r"\b(?:learnt|learned) from\b|\btaught\b|\bteach(?:es)?\b": "trained on",
    r"\bdrawn patients\b|\bdrawn slides\b": "synthetic patients, synthetic slides",
    r"\b(?:with|in) its mirror images\b": "test-time augmentation (flips)",
    r"\btuning (?:part|images?|set)\b": "validation set",
    r"\bcannot be had\b|\bwhat is asked\b|\bis asked about\b": "not available; requested",
    r"\bthe cut\b|\bits cut\b|\bown cut\b": "decision threshold",
    r"\bnear by\b": "nearby",
    r"\bgoes by\b|\bwent by\b|\bin the place of\b": "uses; instead of",
}
SPELLINGS = {
    r"colour\w*": "color",
    r"\bgrey\w*": "gray",
    r"\banalys(?:e|ed|er|ers|ing)\b": "analyze",
    r"\b(?:centi|milli|micro|nano)metres?\b": "millimeter",
    r"\bcentre(?:s|d)?\b": "center",
    r"labell(?:ed|ing)\b": "labeled",
    r"neighbour\w*": "neighbor",
    r"\b(?:un|de|re)?(?:normal|harmon|standard|organ|optim|recogn|summar)is(?:e|ed|es|er|ing|ation)\b": "-ize",
    r"\b(?:pseudonym|visual|general|regular|initial)is(?:e|ed|es|er|ing|ation)\b": "-ize",
    r"\bartefact\w*": "artifact",
    r"\btumour\w*": "tumor",
    r"\bnaev\w*": "nevus",
    r"\blicences?\b": "license",
    r"\bhaemat\w*": "hematoxylin",
    r"\bbehaviour\w*|\bfavour\w*": "behavior",
    r"\blearnt\b": "learned",
}
FORBIDDEN = re.compile("|".join(f"(?:{pattern})" for pattern in (*PHRASES, *SPELLINGS)), re.IGNORECASE)

# The color names of the ABCD rule as the table of results counts them.
ALLOWED = re.compile(r"\bblue-grey\b")
# Code, links and lists that a script or a test takes from the source are checked there.
NOT_PROSE = re.compile(
    r"^ *```.*?^ *```|`[^`]*`|\]\([^)]*\)|https?://\S+|<!-- (\w+) -->.*?<!-- /\1 -->", re.DOTALL | re.MULTILINE
)


def prose(page: Path) -> str:
    """Return a page without code, links and generated lists, its lines in place."""
    text = page.read_text(encoding="utf-8")
    if page.name == "keyboard-shortcuts.md":
        text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    for pattern in (NOT_PROSE, ALLOWED):
        text = pattern.sub(lambda found: re.sub(r"[^\n]+", " ", found[0]), text)
    return text


def test_documents_use_plain_english() -> None:
    assert len(DOCUMENTS) > 20
    assert [
        f"{page.relative_to(REPOSITORY)}:{number}: {found[0]}"
        for page in DOCUMENTS
        for number, line in enumerate(prose(page).splitlines(), 1)
        for found in FORBIDDEN.finditer(line)
    ] == []


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        ("The model tells the classes apart", False),
        ("Slides are analysed anew", False),
        ("An optimised tumour model", False),
        ("A multicolour picture", False),
        ("The analyses of two readers", True),
        ("The model was trained on color images", True),
        ("A message tells you what to do", True),
    ],
)
def test_what_counts_as_plain(text: str, is_plain: bool) -> None:
    assert (FORBIDDEN.search(text) is None) == is_plain


PACKAGE = REPOSITORY / "src" / "napari_melanoma"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Stored keys, column values, option names and words of foreign tables keep their spelling.
KEYS = re.compile(r"[\w.:/<>=%$*?|\\()\[\]{}^+,;!#@&~'\"-]*")  # a literal without white space
STORED = re.compile(
    r"\bcannot tell\b"  # the value of an advice in comparison.json
    r"|\bdrawn patients alone\b"  # a warning that older results hold
    r"|\b(?:standardise)\b"  # an option's value
    r"|\b(?:milli|centi)metres?\b"  # units as tables spell them
    r"|\b(?:blue-grey|tumour|naevus)\b"  # colors and classes of published sets and shipped models
)
FOREIGN_VOCABULARY = {"data/sources", "data/taxonomy"}  # column names and words as the sources publish them


def texts(module):
    """Yield the line and text of each string that is more than a key, without quoted code."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not KEYS.fullmatch(node.value):
            text = re.sub(r"``?[^`]+``?|https?://\S+", " ", node.value)
            yield node.lineno, STORED.sub(" ", text)


def test_source_texts_use_plain_english() -> None:
    own = [path for path in MODULES if path.relative_to(PACKAGE).parent.as_posix() not in FOREIGN_VOCABULARY]
    assert len(own) > 100
    assert [
        f"{module.relative_to(PACKAGE)}:{line}: {found[0]}"
        for module in own
        for line, text in texts(module)
        for found in FORBIDDEN.finditer(text)
    ] == []
