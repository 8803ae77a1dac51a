"""A real Caffe in a Python of its own: the tools use no other, and one sentence says what that Python lacks."""

import os
import subprocess
import sys

import pytest

# How an import of pycaffe ends in a Python that the build does not fit.
FAILING = {  # what its io.py says -> what is to be said of it
    "import skimage_that_is_not_there": "this Python has no skimage_that_is_not_there",
    "raise SystemError('initialization of _caffe failed')": "SystemError: initialization of _caffe failed",
    "raise ImportError('numpy.core.multiarray failed to import')": "ImportError: numpy.core.multiarray failed",
    "raise TypeError('Descriptors cannot be created directly.\\nIf this')": "TypeError: Descriptors cannot be",
}


@pytest.fixture(params=FAILING)
def failing(request, tmp_path):
    """A Caffe's python folder, the first line of its io.py, and what is to be said of it."""
    package = tmp_path / "python" / "caffe"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from . import io\nNet = None\n")
    (package / "io.py").write_text(request.param)
    return package.parent, FAILING[request.param]


def call(*command, path, cwd=None):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    command = [str(word) for word in command]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=cwd)


def linked(root, folder, *names):
    """The project in another folder, without its .venv."""
    (folder / "project").mkdir()
    for name in names:
        (folder / "project" / name).symlink_to(root / name)
    return folder / "project"


def assert_said(process, *words):
    assert process.returncode == 2, process.stderr
    assert "Traceback" not in process.stderr
    assert all(word in process.stderr.splitlines()[-1] for word in words), process.stderr


def test_a_build_that_does_not_fit_its_python_is_a_sentence(failing, root, tmp_path):
    folder, said = failing
    for tool, *words in (
        ["make_prototxt", "--out", tmp_path],
        ["make_solver", "--out", tmp_path],
        ["convert_mean", "x"],
    ):
        process = call(sys.executable, root / "tools" / f"{tool}.py", *words, path=[folder, root / "python"])
        assert_said(process, str(folder / "caffe"), said, "PY=", "docs/howto/real-caffe.md")


def test_make_looks_at_the_python_it_is_given_and_sets_up_none(failing, root, tmp_path):
    folder, said = failing
    project = linked(root, tmp_path, "python", "Makefile", "tools")
    process = call("make", "solvers", f"PY={sys.executable}", f"CAFFE={folder}", path=[], cwd=project)
    assert process.returncode == 2 and "Traceback" not in process.stderr
    assert said in process.stderr and str(folder / "caffe") in process.stderr
    assert not (project / ".venv").exists() and "Setting up" not in process.stdout + process.stderr


def test_make_uses_the_python_it_is_given(root, tmp_path):
    project = linked(root, tmp_path, "python", "Makefile", "tools")
    process = call("make", "solvers", f"PY={sys.executable}", path=[], cwd=project)
    assert process.returncode == 0, process.stderr
    assert "five_agrees_finetune.prototxt" in process.stdout and not (project / ".venv").exists()
    for word in ("no-python-of-that-name", "./tools"):
        process = call("make", "solvers", f"PY={word}", path=[], cwd=project)
        assert process.returncode == 2 and f"PY: {word}" in process.stderr


def test_packages_that_a_python_lacks_are_named_at_once(root):
    blocked = "import sys; sys.modules.update(dict.fromkeys(['tqdm', 'yaml'])); "
    run = "import runpy; runpy.run_module('sentiment.cli.python_needs', run_name='__main__')"
    process = call(sys.executable, "-c", blocked + run, path=[root / "python"])
    assert_said(process, sys.executable, "PyYAML, tqdm", "docs/howto/real-caffe.md")
    assert call(sys.executable, "-m", "sentiment.cli.python_needs", path=[root / "python"]).returncode == 0


def test_what_is_no_caffe_is_a_sentence(root, tmp_path):
    (tmp_path / "caffe").mkdir()
    (tmp_path / "caffe" / "__init__.py").write_text("")  # as a package of that name on PyPI
    process = call(sys.executable, "-m", "sentiment.cli.python_needs", path=[tmp_path, root / "python"])
    assert_said(process, "no Caffe", "CAFFE")
