"""Change the code in small ways and list the changes that no test notices (mutation testing).

    python scripts/mutants.py --sample 40 --seed 0
    python scripts/mutants.py --sample 40 --seed 0 --only metrics/overlap --again

Operators, constants, conditions and calls are changed one at a time. Each change is compiled in memory in a process of
its own, which imports the changed module and runs its tests; no file is written. Results are appended to
``build/mutants.jsonl``: an interrupted run continues, and ``--again`` repeats the changes that survived.
"""

from __future__ import annotations

import argparse
import ast
import copy
import hashlib
import importlib.util
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = "napari_melanoma"
RESULTS = REPOSITORY / "build" / "mutants.jsonl"
PAPERS, PAPERS_TESTS = "extensions/papers/split", "extensions/papers/test"
# The tests of each module, quick ones first.
TESTS = {
    "core/geometry": "core/test_geometry core/test_placement",
    "core/polygons": " ".join(f"core/test_polygon{part}" for part in ("s", "_repair", "_union", "_rasterization")),
    "data/splits": "data/test_splits data/test_data_split data/test_patients_kept",
    "depth/breslow_candidates": "depth/test_breslow_parts depth/test_breslow",
    "depth/t_category": "depth/test_t_category depth/test_breslow_parts depth/test_reading_texts",
    "depth/geometry": "depth/test_section_geometry depth/test_breslow_parts depth/test_breslow",
    "metrics/agreement": "metrics/test_agreement metrics/test_depth_agreement",
    "metrics/calibration": "metrics/test_calibration metrics/test_conformal metrics/test_venn_abers",
    "metrics/segmentation_difficulty": "metrics/test_difficulty",
    "metrics/mask_uncertainty": "metrics/test_uncertainty",
    "metrics/out_of_distribution": "metrics/test_novelty",
    "metrics/overlap": "metrics/test_overlap metrics/test_label_overlap metrics/test_boundaries",
    "metrics/prevalence": "metrics/test_prevalence",
    "metrics/roc_curves": "metrics/test_feature_ranking metrics/test_ranking metrics/test_class_metrics",
    "metrics/statistics": "metrics/test_statistics",
    PAPERS: f"{PAPERS_TESTS}_split {PAPERS_TESTS}_crossed {PAPERS_TESTS}_metastasis",
    "slides/map_polygons": "slides/test_map_polygons",
    "slides/lesion_edits": "slides/test_lesion_edits slides/test_drawn_lesions slides/test_preserved_edits",
    "slides/lesions": "slides/test_slide_lesions slides/test_lesion_classes slides/test_score_correlation",
}
ON_REQUEST = {"core/polygons", PAPERS, "slides/map_polygons", "slides/lesion_edits", "slides/lesions"}
PRELOADED = "hypothesis.extra.numpy pandas PIL.Image pydantic scipy.stats sklearn.metrics triton"  # once for all tests
# Changes without any effect on results: module, line of code, change; and the reason.
STEP = "max(1, DRAWS_AT_ONCE // (4 * len(index)))"
ONLY_SPEED = "only the number of rounds or images at once, and with it speed and memory"
LONGER = "entries at the end that no label uses"
EQUIVALENT = {
    ("metrics/statistics", f"step = {STEP}", f"{STEP} -> 1"): ONLY_SPEED,
    ("metrics/statistics", f"step = {STEP}", "1 -> 2"): ONLY_SPEED,
    ("data/splits", "yield Duplicate(original, sample, 1.0)", "1.0 -> 1.25"): "only the groups of such a pair are used",
    ("depth/geometry", "connected = np.zeros(labels.max() + 1, bool)", "1 -> 2"): LONGER,
    ("depth/geometry", "kept_labels = np.zeros(labels.max() + 1, bool)", "1 -> 2"): LONGER,
    (
        "metrics/out_of_distribution",
        "MAX_VALUES_AT_ONCE = 2**22  # entries of the distance matrix in memory",
        "2 ** 22 -> 2 * 22",
    ): ONLY_SPEED,
    (
        "metrics/out_of_distribution",
        "step = max(1, MAX_VALUES_AT_ONCE // len(self.directions))",
        "MAX_VALUES_AT_ONCE // len(self.directions) -> MAX_VALUES_AT_ONCE * len(self.directions)",
    ): ONLY_SPEED,
    (
        "metrics/out_of_distribution",
        "share = min(scatter, beyond) / beyond if beyond > 0 else 0.0",
        "0.0 -> 1.0",
    ): "the variances are already equal",
    ("core/polygons", "end = np.roll(start, -1, axis=0)", "-1 -> 1"): "the edges are the same",
    (
        "metrics/calibration",
        "return 1.0 - probabilities",
        "1.0 -> 1.25",
    ): "compared only with quantiles of the same scores",
    (
        "metrics/segmentation_difficulty",
        "return np.asarray(Image.fromarray(mask.view(np.uint8) * 255).resize(size, Image.Resampling.BOX)) > 0",
        "mask.view(np.uint8) * 255 -> mask.view(np.uint8) / 255",
    ): "only values above 0 count",
    (
        "metrics/segmentation_difficulty",
        "small = _downscale(rgb, HAIR_SIDE / min(rgb.shape[:2]))",
        "HAIR_SIDE / min(rgb.shape[:2]) -> HAIR_SIDE * min(rgb.shape[:2])",
    ): "only speed: hair_mask depends on the size of the image in the same way",
    (
        "metrics/roc_curves",
        "threshold=min(max(threshold, 0.0), 1.0),",
        "max(threshold, 0.0) -> threshold",
    ): "scores are in [0, 1]",
    (
        "metrics/roc_curves",
        "share = _ratio(low - rise[:, :-1], rise[:, 1:] - rise[:, :-1], 0.0)",
        "0.0 -> 1.0",
    ): "of parts of the curve without height, which have no area",
    (
        "metrics/prevalence",
        "return values / values.sum()",
        "values / values.sum() -> values * values.sum()",
    ): "the probabilities are scaled to add up to 1 afterwards",
    (
        "metrics/prevalence",
        "others = len(probability) - 1",
        "len(probability) - 1 -> len(probability) + 1",
    ): "only the ratio of the shares before and after counts",
    (
        "metrics/roc_curves",
        "is_constant = np.ptp(rows, axis=0) == 0",
        "0 -> 1",
    ): "scipy returns the same for equal values",
    **{
        (PAPERS, f"{name} = {before}", f"{before} -> {after}"): "always given"
        for name, before, after in (
            ("duplicate: bool", "False", "True"),
            ("untouched: bool", "False", "True"),
            ("duplicates: int", "0", "1"),
        )
    },
    (
        "slides/map_polygons",
        "_, ends = np.nonzero(np.diff(np.pad((steps == sign).astype(np.int8), ((0, 0), (1, 1))), axis=1) == -1)",
        "1 -> 2",
    ): "one more column of zeros at the end",
    (
        "slides/map_polygons",
        "for hole in (ring for ring in rings if signed_area(ring) < 0):",
        "signed_area(ring) < 0 -> signed_area(ring) <= 0",
    ): "every ring has an area",
    (
        "slides/map_polygons",
        "return (at[1] - before[1]) * (after[0] - at[0]) - (at[0] - before[0]) * (after[1] - at[1])",
        "after[1] - at[1] -> after[1] + at[1]",
    ): "rings are split at repeated points afterwards, whichever way was taken",
}

SWAPS = (
    "Lt:LtE,GtE LtE:Lt,Gt Gt:GtE,LtE GtE:Gt,Lt Eq:NotEq NotEq:Eq In:NotIn NotIn:In Is:IsNot IsNot:Is And:Or Or:And "
    "Add:Sub Sub:Add Mult:Div Div:Mult FloorDiv:Mult Mod:Mult Pow:Mult BitAnd:BitOr BitOr:BitAnd"
)
SWAPPED = {old: new.split(",") for old, new in (swap.split(":") for swap in SWAPS.split())}
REMOVED_CALLS = {"abs", "ceil", "clip", "cumsum", "exp", "floor", "log1p", "max", "maximum", "min", "minimum", "round"}
REMOVED_CALLS |= {"sort", "sorted", "sqrt"}
UNCHANGED_FIELDS = {"annotation", "decorator_list", "returns"}


class Mutant(NamedTuple):
    """A change of one module: the index of the node and of its change, the line, and the code before and after."""

    module: str
    node: int
    change: int
    line: int
    before: str
    after: str


def iter_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes that may be changed; messages, type hints and decorators are left out."""
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.keyword(arg="strict") | ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in UNCHANGED_FIELDS:
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from iter_nodes(child)


def iter_changes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the changed copies of a node."""
    match node:
        case ast.Compare(ops=[operator]):
            yield from (with_fields(node, ops=[other]) for other in swap(operator))
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) | ast.AugAssign(op=operator):
            yield from (with_fields(node, op=other) for other in swap(operator))
        case ast.UnaryOp(op=ast.Not() | ast.Invert() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield with_fields(node, value=not value)
        case ast.Constant(value=int(value)):
            yield with_fields(node, value=value + 1)
        case ast.Constant(value=float(value)):
            yield with_fields(node, value=1.25 * value or 1.0)
        case ast.IfExp(body=body, orelse=otherwise):
            yield with_fields(node, body=otherwise, orelse=body)
        case ast.If(test=ast.Name() | ast.Call() | ast.Attribute() as test):
            yield with_fields(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]) if name in REMOVED_CALLS:
            yield first
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()


def swap(operator: ast.AST) -> list[ast.AST]:
    return [getattr(ast, name)() for name in SWAPPED.get(type(operator).__name__, ())]


def with_fields(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def source_of(module: str) -> Path:
    return REPOSITORY / "src" / PACKAGE / f"{module}.py"


def test_files(module: str) -> list[Path]:
    return [REPOSITORY / "tests" / f"{name}.py" for name in TESTS[module].split()]


def list_mutants(module: str) -> list[Mutant]:
    """List all changes of a module."""

    def shorten(node: ast.AST) -> str:
        return ast.unparse(with_fields(node, body=[ast.Pass()], orelse=[]) if isinstance(node, ast.If) else node)

    nodes = enumerate(iter_nodes(ast.parse(source_of(module).read_text())))
    return [
        Mutant(module, index, number, node.lineno, shorten(node), shorten(change))
        for index, node in nodes
        for number, change in enumerate(iter_changes(node))
    ]


def describe(mutant: Mutant) -> tuple[str, str, str]:
    """The module, the line of code and the change."""
    line = source_of(mutant.module).read_text().splitlines()[mutant.line - 1].strip()
    return mutant.module, line, f"{mutant.before} -> {mutant.after}"


class Replace(ast.NodeTransformer):
    """Replaces one node of a tree."""

    def __init__(self, old: ast.AST, new: ast.AST) -> None:
        self.old, self.new = old, new

    def visit(self, node: ast.AST) -> ast.AST:
        return self.new if node is self.old else self.generic_visit(node)


def compile_mutant(mutant: Mutant) -> CodeType:
    path = source_of(mutant.module)
    tree = ast.parse(path.read_text())
    node = list(iter_nodes(tree))[mutant.node]
    change = ast.copy_location(list(iter_changes(node))[mutant.change], node)
    return compile(ast.fix_missing_locations(Replace(node, change).visit(tree)), path, "exec")


class Loader(SourceFileLoader):
    """Finds and loads one module from code in memory."""

    def __init__(self, module: str, code: CodeType) -> None:
        super().__init__(f"{PACKAGE}.{module.replace('/', '.')}", str(source_of(module)))
        self.code = code

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, self.path, loader=self) if name == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        return self.code


def run_tests(module: str, loader: Loader | None, seconds: int) -> str:
    """Run the tests of a module in a process of its own: ``killed``, ``survived`` or ``timeout``."""
    import pytest

    child = os.fork()
    if not child:
        signal.alarm(seconds)
        if loader:
            null = os.open(os.devnull, os.O_RDWR)
            for stream in range(3):
                os.dup2(null, stream)
            sys.meta_path.insert(0, loader)
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "not torchmetrics"]  # takes 10 s to import
        options += ["-W", "ignore::pytest.PytestAssertRewriteWarning", *(["-x"] if loader else [])]
        os._exit(pytest.main([*options, *map(str, test_files(module))]))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) == signal.SIGALRM else "killed"
    return "survived" if os.WEXITSTATUS(status) == 0 else "killed"


def read_results() -> dict[str, dict[str, Any]]:
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return {entry["key"]: entry for entry in map(json.loads, lines)}


def key_of(mutant: Mutant) -> str:
    """A key that changes with the code of the module."""
    return hashlib.sha256(repr((mutant, source_of(mutant.module).read_text())).encode()).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=40, help="changes of each module; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="seed of the sample")
    parser.add_argument("--only", default="", help="modules whose path starts with this, such as metrics/")
    parser.add_argument("--again", action="store_true", help="repeat the changes that survived")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start no further change after this time")
    options = parser.parse_args()
    os.environ["CI"] = "1"  # hypothesis then tries the same examples each time
    RESULTS.parent.mkdir(exist_ok=True)
    for plugin in entry_points(group="pytest11"):
        plugin.load()
    for name in filter(importlib.util.find_spec, PRELOADED.split()):
        importlib.import_module(name)
    end, results = time.monotonic() + options.seconds, read_results()
    with tempfile.TemporaryDirectory() as tempfile.tempdir:  # what killed tests leave behind
        named = (name for name in TESTS if name.startswith(options.only))
        for module in (name for name in named if options.only or name not in ON_REQUEST):
            chosen = list_mutants(module)
            random.Random(f"{options.seed} {module}").shuffle(chosen)
            chosen = chosen[: options.sample or None]
            test_sample(module, chosen, results, options.again, end)
            report(module, chosen, results)


def test_sample(module: str, chosen: list[Mutant], results: dict[str, Any], again: bool, end: float) -> None:
    """Test the changes that have no result yet, and append their results."""
    states = ("killed", "timeout", *(() if again else ("survived",)))
    open_ones = [one for one in chosen if results.get(key_of(one), {}).get("state") not in states]
    open_ones = [one for one in open_ones if describe(one) not in EQUIVALENT]
    if not open_ones or time.monotonic() > end:
        return
    unchanged = Mutant(module, 0, 0, 1, "", "".join(path.read_text() for path in test_files(module)))
    if key_of(unchanged) not in results:
        start = time.monotonic()
        if run_tests(module, None, 600) != "survived":
            sys.exit(f"the tests of {module} fail or take more than 10 minutes without any change")
        save(results, key_of(unchanged), state="unchanged", module=module, seconds=time.monotonic() - start)
    limit = 10 + int(5 * results[key_of(unchanged)]["seconds"])
    for mutant in open_ones:
        if time.monotonic() > end:
            return
        state = run_tests(module, Loader(module, compile_mutant(mutant)), limit)
        save(results, key_of(mutant), state=state, **mutant._asdict())


def save(results: dict[str, Any], key: str, **values: object) -> None:
    results[key] = {"key": key, **values}
    with RESULTS.open("a") as file:
        file.write(json.dumps(results[key]) + "\n")


def report(module: str, chosen: list[Mutant], results: dict[str, Any]) -> None:
    """Write how many changes were noticed, and those that were not."""
    reasons = {one: EQUIVALENT[describe(one)] for one in chosen if describe(one) in EQUIVALENT}
    states = {one: results[key_of(one)]["state"] for one in chosen if one not in reasons and key_of(one) in results}
    survived = [one for one, state in states.items() if state == "survived"]
    noticed = len(states) - len(survived)
    sys.stdout.write(f"{module}: {noticed} of {len(states)} changes noticed, {len(reasons)} without effect\n")
    for one in (*survived, *reasons):
        sys.stdout.write(f"  {one.line}: {describe(one)[1:]} {reasons.get(one, '')}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
