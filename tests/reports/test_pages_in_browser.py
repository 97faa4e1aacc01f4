"""Reports in a browser, on a phone and a desktop, light and dark: nothing is loaded or executed, all can be read.

What is written into the pages is tested in ``test_page.py``; these are the tests of what Chromium makes of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_case import READERS, write_case
from fake_report import make_report
from finding_files import load_synoptic, save_synoptic
from pypdf import PdfReader

from napari_melanoma.case.model import CaseLesion, CasePart, CasePatient
from napari_melanoma.case.store import CASE
from napari_melanoma.core.context import RunContext
from napari_melanoma.data.table_schema import find_column
from napari_melanoma.depth.synoptic import SynopticAnswer
from napari_melanoma.depth.synoptic_fields import FIELDS
from napari_melanoma.figures.page import NOTICE, Report, write_report
from napari_melanoma.reports.case_report import collect_report

pytestmark = pytest.mark.slow

BROWSER = Path(__file__).with_name("browser.py")
PRINTED = "case"  # the last page, which the browser prints
UNAVAILABLE = 3  # exit code of the browser
TIMEOUT_S = 600
WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
MARKUP = (
    "<script>window.executed = 1; alert(1)</script></title></style></td></table><script>window.executed = 1</script>"
    "<img src=x onerror='window.executed = 1'>\" onload=\"window.executed = 1\" ' onfocus='window.executed = 1' "
    "<link rel=stylesheet href=http://example.org/x.css>javascript:window.executed=1 {{ 7 * 7 }} {% raw %} &lt;b&gt; \\"
)
TEXTS = (
    MARKUP,
    "W" * 500,
    "\u202eright to left \u2066מלנומה של העור\u200f 👩🏽‍⚕️🩺 a\x00b\x1b[31m None null NaN undefined",
)
HOSTILE = " ".join(TEXTS)
FAULTY = """<!doctype html><html><body style="margin: 0; background: white"><p style="width: 3000px; color: #ccc">Pale
<img src="http://example.org/x.png"><script>window.executed = 1; alert(1); missing()</script>"""
"""A page with all that must not be: without it, the tests would also pass if the browser noticed nothing."""


@dataclass(frozen=True)
class Visit:
    """What the browser found on a page; ``content`` is its width, ``wide`` what sticks out."""

    page: str
    scheme: str
    width: int
    content: int
    wide: list[str]
    executed: bool
    background: str
    requests: list[str]
    messages: list[str]
    violations: list[str]


Visits = list[Visit]


@pytest.fixture(scope="module")
def case_report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_case(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory, case_report: Report) -> dict[str, Path]:
    """The report of a case, the same one with hostile texts wherever one can type, and all blocks with such texts."""
    folder = tmp_path_factory.mktemp("pages")
    blocks = tuple(block for text in TEXTS for block in make_report(text).blocks)
    write_report(folder / "case.html", case_report)
    write_report(folder / "hostile.html", report_case(tmp_path_factory.mktemp("hostile"), HOSTILE))
    write_report(folder / "blocks.html", Report(HOSTILE, HOSTILE, blocks, HOSTILE, HOSTILE))
    (folder / "faulty.html").write_text(FAULTY, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in ("faulty", "blocks", "hostile", PRINTED)}


@pytest.fixture(scope="module")
def visits(pages: dict[str, Path], repository: Path) -> list[Visit]:
    """What the browser found on each page, at each width and in each color scheme."""
    axe = repository / "build" / "axe.min.js"
    if not axe.is_file():
        pytest.skip(f"needs axe-core: no file {axe} (scripts/axe.sh FILE fetches it with npm)")
    found = []
    for scheme in SCHEMES:
        given = [f"{name}={path}" for name, path in pages.items()]
        command = [sys.executable, BROWSER, axe, scheme, ",".join(map(str, WIDTHS)), *given]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        if done.returncode == UNAVAILABLE:
            pytest.skip(f"needs Qt WebEngine: {done.stderr.strip()} (scripts/system-libraries.sh)")
        assert done.returncode == 0, done.stderr
        found += [Visit(**one) for one in json.loads(done.stdout)]
    assert len(found) == len(pages) * len(WIDTHS) * len(SCHEMES)
    return found


@pytest.fixture
def reports(visits: list[Visit]) -> list[Visit]:
    """The visits to our own pages."""
    return [one for one in visits if one.page != "faulty"]


def report_case(root: Path, typed: str = "") -> Report:
    """Return the report of a case with everything that is personal; ``typed``: as text wherever one can type."""
    case = write_case(root)
    if typed:
        fill_case(root, case.folder, typed)
        fill_synoptic_report(case.results, typed)
    found = collect_report([case.folder, case.results], personal=True, run=RunContext())
    assert [one.detail[-300:] for one in found.problems] == []
    return found.report


def fill_case(root: Path, folder: Path, text: str) -> None:
    """Set each free text of a case, the names of readers, classes, regions and models, and the names of files."""
    case = json.loads((folder / CASE).read_text(encoding="utf-8"))
    for kind, part in [(CasePatient, case["patient"]), *((CaseLesion, one) for one in case["lesions"])]:
        part.update(dict.fromkeys(free_texts(kind), text))
    (folder / CASE).write_text(json.dumps(case), encoding="utf-8")
    names = {name: f"{number} {text}" for number, name in enumerate(READERS)}
    names |= dict.fromkeys(
        ("Tumor", "malignant", "skin-model", "melanoma-small", "PRIVATE reading", "ISIC_0000001"), text
    )
    for path in root.glob("*.png"):
        names[path.name] = f"<img src=x onerror='window.executed = 1'>\" {'W' * 100} \u202e {path.name}"
        path.rename(root / names[path.name])
    for path in (*root.rglob("*.json"), *root.rglob("*.geojson")):
        path.write_text(
            json.dumps(replace_texts(json.loads(path.read_text(encoding="utf-8")), names)), encoding="utf-8"
        )


def free_texts(kind: type[CasePart]) -> list[str]:
    """The names of the fields that accept any text."""
    texts = [name for name, one in kind.model_fields.items() if one.annotation is str and not one.metadata]
    return [name for name in texts if (column := find_column(name)) is None or column.kind == "text"]


def replace_texts(value: object, names: dict[str, str]) -> object:
    """Return a JSON value whose texts are replaced where they contain a name."""
    if isinstance(value, dict):
        return {replace_texts(key, names): replace_texts(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [replace_texts(one, names) for one in value]
    if isinstance(value, str):
        for name, text in names.items():
            value = value.replace(name, text)
    return value


def fill_synoptic_report(folder: Path, text: str) -> None:
    """Give each text of the synoptic report, and sign it with such a name."""
    when = "2026-01-07T10:00:00+00:00"
    report = load_synoptic(folder)
    assert report is not None
    report = report.reopen(text, when)
    for one in FIELDS:
        if one.kind == "text":
            report = report.set_answer(one.name, SynopticAnswer(value=text), text, when)
        elif "other" in one.choices:
            report = report.set_answer(one.name, SynopticAnswer(value="other", detail=text), text, when)
    save_synoptic(folder, report.sign(text, when))


def test_pages_load_nothing_and_execute_nothing(reports: list[Visit]) -> None:
    assert [one for one in reports if one.requests or one.messages or one.executed] == []


def test_pages_fit_into_a_phone_and_a_desktop(reports: list[Visit]) -> None:
    assert [(one.page, one.scheme, one.content, one.wide) for one in reports if one.content > one.width] == []


def test_pages_are_accessible(reports: list[Visit]) -> None:
    """Neither level A nor AA of WCAG 2 is violated, colors included."""
    assert [(one.page, one.scheme, one.width, one.violations) for one in reports if one.violations] == []


def test_pages_follow_the_color_scheme(reports: list[Visit]) -> None:
    backgrounds = {scheme: {one.background for one in reports if one.scheme == scheme} for scheme in SCHEMES}
    assert backgrounds == {"light": {"rgb(245, 245, 243)"}, "dark": {"rgb(18, 20, 23)"}}


def test_the_browser_check_finds_faults(visits: list[Visit]) -> None:
    for one in (one for one in visits if one.page == "faulty"):
        assert one.requests == ["http://example.org/x.png"]
        assert {message.split(":")[0] for message in one.messages} == {"alert", "ErrorMessageLevel"}
        assert one.executed
        assert one.content == 3000
        found = {violation.split(":")[0] for violation in one.violations}
        assert found == {"color-contrast", "document-title", "html-has-lang", "image-alt"}


@pytest.mark.usefixtures("visits")
def test_each_printed_page_is_identified_and_numbered(pages: dict[str, Path]) -> None:
    """Those that the browser prints; the program's own are the subject of tests/cli/test_report.py."""
    printed = [" ".join(page.extract_text().split()) for page in PdfReader(pages[PRINTED].with_suffix(".pdf")).pages]
    assert 3 <= len(printed) <= 12
    for number, text in enumerate(printed, start=1):
        for expected in ("Case P-ZV1QS0-BRDZ2J", NOTICE, f"Page {number} of {len(printed)}"):
            assert expected in text
