"""Texts avoid dialect, personified software and British spelling; CONTRIBUTING.md has the rules."""

from __future__ import annotations

import re
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = [*(REPOSITORY / name for name in ROOT_PAGES), *sorted((REPOSITORY / "docs").rglob("*.md"))]
BUILD_FILES = [
    *(REPOSITORY / name for name in (".ci/run", "Makefile", "pyproject.toml", "tox.ini")),
    *sorted((REPOSITORY / "scripts").glob("*.sh")),
    *sorted((REPOSITORY / ".github").rglob("*.yml")),
]
# Not the scenarios of golden files, whose commands and records belong together.
SCRIPTS = [
    path
    for folder in ("benchmarks", "examples", "scripts")
    for path in sorted((REPOSITORY / folder).rglob("*.py"))
    if path.parent.name != "golden"
]

# Phrase to avoid, in lower case and at the start of a word: what to write instead. Those of INSIDE are found anywhere.
PHRASES = {
    r"(?:is|are|was|were|be|been) told\b": "reported, stated, predicted",
    r"tells?\b(?! (?:you|your|the user))": "predicts, states, distinguishes",
    r"nobody\b|somebody\b|anybody\b|whoever\b": "users, a user, unknown",
    r"anew\b": "again",
    r"of before\b|the answer of\b": "previous, outdated",
    r"(?:put|set|leave|left) aside\b": "backed up, validation set, excluded",
    r"stands? (?:for|back|behind)\b": "represents, is",
    r"hears?\b|heard\b": "receives, detects",
    r"unlike all\b|looks unlike\b": "out of distribution",
    r"(?:learnt|learned) from\b|taught\b|teach(?:es)?\b": "trained on",
    r"drawn patients\b|drawn slides\b": "synthetic patients, synthetic slides",
    r"(?:with|in) its mirror images\b": "test-time augmentation (flips)",
    r"tuning (?:part|images?|set)\b": "validation set",
    r"cannot be had\b|what is asked\b|is asked about\b": "not available; requested",
    r"the cut\b|its cut\b|own cut\b": "decision threshold",
    r"near by\b": "nearby",
    r"goes by\b|went by\b|in the place of\b": "uses; instead of",
}
SPELLINGS = {
    r"grey\w*": "gray",
    r"analys(?:e|ed|er|ers|ing)\b": "analyze",
    r"(?:centi|milli|micro|nano)metres?\b": "millimeter",
    r"centre(?:s|d)?\b": "center",
    r"(?:un|de|re)?(?:normal|harmon|standard|organ|optim|recogn|summar)is(?:e|ed|es|er|ing|ation)\b": "-ize",
    r"(?:pseudonym|visual|general|regular|initial)is(?:e|ed|es|er|ing|ation)\b": "-ize",
    r"artefact\w*": "artifact",
    r"tumour\w*": "tumor",
    r"naev\w*": "nevus",
    r"licences?\b": "license",
    r"haemat\w*": "hematoxylin",
    r"behaviour\w*|favour\w*": "behavior",
    r"learnt\b": "learned",
}
INSIDE = {
    r"colour\w*": "color",
    r"labell(?:ed|ing)\b": "labeled",
    r"neighbour\w*": "neighbor",
}
FORBIDDEN = re.compile(rf"\b(?:{'|'.join((*PHRASES, *SPELLINGS))})|{'|'.join(INSIDE)}")

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
        for found in FORBIDDEN.finditer(line.lower())
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
def test_detection_of_phrases_to_avoid(text: str, is_plain: bool) -> None:
    assert (FORBIDDEN.search(text.lower()) is None) == is_plain


# Stored keys, column values, option names and words of foreign tables keep their spelling.
KEYS = re.compile(r"[\w.:/<>=%$*?|\\()\[\]{}^+,;!#@&~'\"-]*")  # a literal without white space
STORED = re.compile(
    r"\bdrawn patients alone\b"  # a warning that older results hold
    r"|\b(?:standardise)\b"  # an option's value
    r"|\b(?:milli|centi)metres?\b"  # units as tables spell them
    r"|\b(?:blue-grey|tumour|naevus)\b"  # colors and classes of published sets and shipped models
)


def forbidden_texts(strings: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Find phrases to avoid in string literals that are more than a key, without quoted code; test_house reads them."""
    for line, value in strings:
        if KEYS.fullmatch(value):
            continue
        text = STORED.sub(" ", re.sub(r"``?[^`]+``?|https?://\S+", " ", value)).lower()
        yield from (f"{line}: {found[0]}" for found in FORBIDDEN.finditer(text))


def test_string_literals_are_searched() -> None:
    strings = [(1, "colour_centre"), (2, "the Colour `centre` of"), (3, "see https://a.org/anew, 2 millimetres")]
    assert list(forbidden_texts(strings)) == ["2: colour"]


# Names of stored keys, fields, options and controls that have been replaced; core/renamed_keys.py has the new ones.
OLD_NAMES = (
    "asked|unlike|likeness|said|base_share|depth_said|depth_in_words|tuning|tuning_\\w+|learn|learn_also|held_out|held_out_\\w+|"
    "blend|take|crossed|standings|theirs|beside|beside_\\w+|\\w+_beside|\\w+_words|take over|cannot tell"
)
OLD_NAME = re.compile(
    rf"(?<![\w\"'])([\"'])(?:{OLD_NAMES})\1|^ {{4}}(?:{OLD_NAMES}): |[(, ](?:{OLD_NAMES})=(?!=)|^(?:{OLD_NAMES}) = "
    r"|\b(?:draw_ticket|SlideStops)\b"
    r"|def (?:\w+_)?(?:asked|likeness|said|told|theirs|standings|held_out|beside|anew|nobody)(?:_\w+)?\("
    r"|def \w+_words\(",
    re.MULTILINE,
)
SOURCES = [
    path
    for folder in ("src", "tests", "scripts", "benchmarks", "recipes")
    for path in sorted((REPOSITORY / folder).rglob("*"))
    if path.suffix in (".py", ".toml", ".json", ".csv") and path.stem not in ("renamed_keys", "test_renamed_keys")
]


def test_replaced_names_are_not_used() -> None:
    assert len(SOURCES) > 500
    assert [
        f"{path.relative_to(REPOSITORY)}: {found[0].strip()}"
        for path in SOURCES
        if path != Path(__file__)
        for found in OLD_NAME.finditer(path.read_text(encoding="utf-8"))
    ] == []


def test_comments_of_build_files_use_plain_english() -> None:
    assert [
        f"{path.name}:{number}: {found[0]}"
        for path in BUILD_FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for found in FORBIDDEN.finditer(line.partition("#")[2].lower())
    ] == []


def test_scripts_use_plain_english() -> None:
    assert [f"{path.name}:{found}" for path in SCRIPTS for found in forbidden_texts(texts(path))] == []


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each string and comment of a module."""
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if tokenize.tok_name[token.type] in ("COMMENT", "STRING", "FSTRING_MIDDLE"):
                yield token.start[0], token.string


def test_names_of_tests_use_plain_english() -> None:
    modules = sorted((REPOSITORY / "tests").rglob("*.py"))
    assert len(modules) > 100
    assert [
        f"{path.name}: {name}: {found[0]}"
        for path in modules
        for name in re.findall(r"^ *def test_(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        for found in FORBIDDEN.finditer(name.replace("_", " "))
    ] == []
