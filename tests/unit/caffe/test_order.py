"""The packages of python/caffe and their order: each imports only from those before it, and none from sentiment."""

import ast

import pytest

ORDER = (
    *("proto", "errors", "names", "runtime", "random", "formats", "data", "net_spec", "layers", "nets", "solvers"),
    *("extension", "fork_layers", "io", "classifier", "detector", "draw", "coord_map", "_caffe", "pycaffe"),
    *("tools", "cli", "__init__"),
)
PACKAGES = ("runtime", "random", "formats", "data", "layers", "nets", "solvers", "fork_layers")
MOST_MODULES = 12


@pytest.fixture(scope="module")
def package(root):
    return root / "python" / "caffe"


def imported(path, package):
    """The full names of the modules, or of what is in them, that a file imports."""
    inside = ("caffe", *path.relative_to(package).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = inside[: len(inside) - node.level + 1] if node.level else ()
            yield from (".".join([*start, *filter(None, [node.module]), name.name]) for name in node.names)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def test_a_package_imports_only_what_comes_before_it(package):
    found = {path.name.removesuffix(".py") for path in package.iterdir() if path.name != "__pycache__"}
    assert found == {*ORDER}
    for path in sorted(package.rglob("*.py")):
        own = path.relative_to(package).parts[0].removesuffix(".py")
        for name in imported(path, package):
            assert name.split(".")[0] != "sentiment", f"{path} imports {name}"
            if name.startswith("caffe."):
                other = name.split(".")[1]
                assert own == other or ORDER.index(other) < ORDER.index(own), f"{path} imports {name}"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_small(package, name):
    assert len([path for path in (package / name).rglob("*.py") if path.name != "__init__.py"]) <= MOST_MODULES
