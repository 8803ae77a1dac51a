"""What is installed, and what a public forge and git hooks run."""

import configparser
import subprocess
import sys
import zipfile
from shutil import copy2, copytree, ignore_patterns

import pytest
import yaml

import sentiment

NOT_SOURCE = ignore_patterns("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    """A wheel of this project, made without network and from a copy, since setuptools leaves a build folder behind."""
    folder = tmp_path_factory.mktemp("wheel")
    copytree(root / "python", folder / "python", ignore=NOT_SOURCE)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy2(root / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, folder]
    subprocess.run(command, check=True, capture_output=True)
    [path] = folder.glob("*.whl")
    with zipfile.ZipFile(path) as opened:
        yield opened


def test_a_wheel_has_every_file_of_the_packages(wheel, root, tmp_path):
    source = copytree(root / "python", tmp_path / "python", ignore=NOT_SOURCE)
    wanted = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == wanted
    assert {"caffe/proto/caffe.proto", "sentiment/report/page.html", "sentiment/web/app.js"} <= wanted


def test_a_wheel_has_the_version_and_the_commands(wheel):
    [info] = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert info == f"pixels_to_sentiment-{sentiment.__version__}.dist-info"
    found = configparser.ConfigParser()
    found.read_string(wheel.read(f"{info}/entry_points.txt").decode())
    assert {*found["console_scripts"]} == {
        *("caffe", "convert_imageset", "compute_image_mean", "convert_mnist_data.bin", "convert_cifar_data.bin"),
        *("convert_mnist_siamese_data.bin", "extract_features", "upgrade_net_proto_text", "upgrade_net_proto_binary"),
        "upgrade_solver_proto_text",
    }


def test_the_forge_runs_what_ci_runs(root):
    workflow = yaml.safe_load((root / ".github" / "workflows" / "ci.yml").read_text())
    assert "schedule" in workflow[True]  # YAML 1.1 reads the key `on` so
    [job] = workflow["jobs"].values()
    assert job["strategy"]["matrix"] == {"python": ["3.10", "3.14"], "threads": [1, 2]}
    assert job["env"]["OMP_NUM_THREADS"] == "${{ matrix.threads }}"
    used = [step["uses"].split("@")[0] for step in job["steps"] if "uses" in step]
    assert used == ["actions/checkout", "actions/setup-python"]
    assert [step["run"] for step in job["steps"] if "run" in step] == ["make lock", ".ci/run"]


def test_hooks_run_the_tools_of_the_virtual_environment(root):
    config = yaml.safe_load((root / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]
    assert [hook["id"] for hook in hooks] == ["ruff", "ruff-format", "mypy"]
    assert all(hook["language"] == "system" and hook["entry"].startswith(".venv/bin/") for hook in hooks)


def test_issue_forms_are_complete(root):
    forms = sorted((root / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert len(forms) == 2
    for path in forms:
        form = yaml.safe_load(path.read_text())
        assert {"name", "description", "body"} <= form.keys()
        ids = [part["id"] for part in form["body"] if part["type"] != "markdown"]
        assert len(ids) == len(set(ids)) and all("label" in part["attributes"] for part in form["body"] if "id" in part)
