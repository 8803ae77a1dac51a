"""The packages of python/sentiment and their order: each imports only from those above it."""

import ast

import pytest

ORDER = (
    *("paper", "names", "utils", "engine", "data", "networks", "sources", "training", "evaluation", "analysis"),
    *("report", "figures", "experiments", "demo", "web", "cli"),
)
MOST_MODULES = 11


def imported(path, package):
    """What a file imports from ``package``, as the names that come after it: ``data``, ``data.folds``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == package:
            yield from (f"{node.module}.{name.name}".split(".", 1)[1] for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name.split(".", 1)[-1] for name in node.names if name.name.split(".")[0] == package)


def modules(root, package):
    return sorted((root / "python" / "sentiment" / package).rglob("*.py"))


def test_a_package_imports_only_what_comes_before_it(root):
    sentiment = root / "python" / "sentiment"
    assert {path.name.removesuffix(".py") for path in sentiment.iterdir() if not path.name.startswith("_")} == {*ORDER}
    for path in sorted(sentiment.rglob("*.py")):
        own = path.relative_to(sentiment).parts[0].removesuffix(".py")
        for name in set(imported(path, "sentiment")) - {"__version__"}:
            other = name.split(".")[0]
            assert own == other or ORDER.index(other) < ORDER.index(own), f"{path} imports {name}"


@pytest.mark.parametrize("package", ORDER)
def test_a_package_is_small(root, package):
    assert len([path for path in modules(root, package) if path.name != "__init__.py"]) <= MOST_MODULES


@pytest.mark.parametrize("package", ["sentiment", "tools"])
def test_the_experiments_know_nothing_of_torch(root, package):
    folder = root / "tools" if package == "tools" else root / "python" / package
    for path in sorted(folder.rglob("*.py")):
        if path.name != "foreign_pytorch.py":  # reads PyTorch's own files, and imports it for that alone
            assert not list(imported(path, "torch")), path


def test_no_test_imports_another(root):
    tests = sorted((root / "tests").rglob("test_*.py"))
    names = {path.stem for path in tests}
    for path in tests:
        found = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        assert not found & names, path
