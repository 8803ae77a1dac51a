"""The examples in docstrings give what they show."""

import doctest
import importlib
from pathlib import Path

import pytest

PYTHON = Path(__file__).parents[2] / "python"
# pytest's own --doctest-modules would import every module, those of the optional packages too.
WITH_EXAMPLES = sorted(path for path in PYTHON.rglob("*.py") if ">>> " in path.read_text())


@pytest.mark.parametrize("name", [".".join(path.relative_to(PYTHON).with_suffix("").parts) for path in WITH_EXAMPLES])
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed
