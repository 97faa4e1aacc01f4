"""What the documents name exists: paths, modules and functions, links, and the packages of the diagram."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "src" / "napari_melanoma"
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = [*(REPOSITORY / name for name in ROOT_PAGES), *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`([\w.-]+/[\w./-]*|[\w-]+\.(?:py|yml|yaml|toml))`(?<!`dock\.py`)(?<!`paper\.toml`)")
PLACEHOLDER = re.compile(r"\b(?:TODO|TBD|XXX|FIXME|TIME[A-Z])\b")
EXAMPLE = re.compile(r"^ *```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def read_section(page: str, heading: str) -> str:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return text.split(f"## {heading}\n")[1].split("\n## ")[0]


def exists(path: str) -> bool:
    return any((folder / path).exists() for folder in (PACKAGE, REPOSITORY))


@pytest.mark.parametrize(
    ("page", "heading", "at_least"),
    [
        ("CONTRIBUTING.md", "Where a new thing goes", 30),
        ("CONTRIBUTING.md", "Code style", 4),
        ("docs/explanation/architecture.md", "The packages", 20),
        ("docs/explanation/architecture.md", "Training", 12),
        ("docs/explanation/architecture.md", "Analysis of slides", 10),
        ("docs/explanation/decisions.md", "Decisions", 8),
        ("docs/explanation/decisions.md", "Libraries and our own code", 10),
    ],
)
def test_each_path_exists(page: str, heading: str, at_least: int) -> None:
    paths = PATH.findall(read_section(page, heading))
    assert [path for path in paths if not exists(path)] == []
    assert len(paths) >= at_least


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "scripts" / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_modules_and_tests_of_the_mutations_exist() -> None:
    script = load_script("mutants")
    files = [path for module in script.TESTS for path in (script.source_of(module), *script.test_files(module))]
    assert [str(path) for path in files if not path.exists()] == []
    assert script.ON_REQUEST | {module for module, *_ in script.EQUIVALENT} <= script.TESTS.keys()


def test_the_package_table_and_the_diagram_name_all_packages() -> None:
    table = read_section("docs/explanation/architecture.md", "The packages")
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    packages = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert named == packages - {"__init__", "__main__"}
    script = load_script("package_diagram")
    assert script.TARGET.read_text(encoding="utf-8") == script.draw(), "run python scripts/package_diagram.py"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_links_lead_to_files(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_installation_is_documented_from_a_clone_or_a_wheel() -> None:
    is_released = "Nothing has been released yet" not in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    before, _, after = read_section("README.md", "Install").partition("After the first release:")
    assert is_released or ("./napari-melanoma[all]" in before and ".whl[all]" in before)
    assert "Install/Uninstall Plugins" not in before
    assert "Install/Uninstall Plugins" in after


def test_no_page_contains_a_placeholder() -> None:
    assert [
        f"{page.relative_to(REPOSITORY)}:{number}: {found[0]}"
        for page in DOCUMENTS
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        for found in PLACEHOLDER.finditer(line)
    ] == []


def imported_names(page: Path) -> set[tuple[str, str]]:
    trees = [ast.parse(example) for example in EXAMPLE.findall(page.read_text(encoding="utf-8"))]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {(node.module, name.name) for node in nodes for name in node.names if node.module.startswith(PACKAGE.name)}


def defined_names(module: str) -> set[str]:
    path = PACKAGE.parent.joinpath(*module.split("."))
    folder = {child.stem for child in path.iterdir()} if path.is_dir() else set()
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    nodes = ast.parse(source.read_text(encoding="utf-8")).body
    names = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            names |= {name.asname or name.name for name in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names | folder


def test_examples_import_names_that_exist() -> None:
    wanted = {(page.name, *name) for page in DOCUMENTS for name in imported_names(page)}
    assert [found for found in sorted(wanted) if found[2] not in defined_names(found[1])] == []
    assert len(wanted) > 20


def test_every_page_is_in_the_navigation() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    pages = {page.relative_to(REPOSITORY / "docs").as_posix() for page in DOCUMENTS if page.parent != REPOSITORY}
    assert set(re.findall(r"[\w/-]+\.md", navigation)) == pages
