"""The list of changes without effect refers to code that exists."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))

import mutants


def test_each_change_without_effect_is_one_that_the_script_makes() -> None:
    """Code that changes leaves its entry behind, and the change counts as one that no test notices."""
    made = {mutants.describe(mutant) for module in mutants.TESTS for mutant in mutants.list_mutants(module)}
    assert sorted(mutants.EQUIVALENT.keys() - made) == []
