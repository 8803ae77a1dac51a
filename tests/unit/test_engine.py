"""What a record says of the engine, the project and the machine."""

import os
import subprocess
import sys
import types

import pytest

from sentiment import engine
from sentiment.utils.errors import UserError


def git(folder, *words):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    process = subprocess.run(["git", "-C", folder, *identity, *words], capture_output=True, text=True, check=True)
    return process.stdout.strip()


def commit(folder):
    engine.commit.cache_clear()
    found = engine.commit(folder)
    engine.commit.cache_clear()
    return found


def test_a_checkout_has_a_commit_and_changed_files_make_it_dirty(tmp_path):
    assert commit(tmp_path) == ""
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) == ""  # nothing is committed
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    git(tmp_path, "tag", "v1")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert commit(tmp_path) == head
    (tmp_path / "other").write_text("not of the project")
    assert commit(tmp_path) == head
    (tmp_path / "file").write_text("two")
    assert commit(tmp_path) == f"{head}-dirty"
    (tmp_path / "inner").mkdir()
    assert commit(tmp_path / "inner") == ""  # a copy within another project's checkout


@pytest.fixture
def bvlc(monkeypatch):
    """A module that has what a BVLC build has, as far as it is asked."""
    module = types.ModuleType("caffe")
    module.__file__, module.__version__, module.Net = "caffe/__init__.py", "1.0.0-rc5", None
    module.set_mode_cpu = lambda: None
    monkeypatch.setitem(sys.modules, "caffe", module)
    return module


def test_a_build_is_recorded_as_what_it_is(bvlc, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    engine.start()
    found = engine.environment()
    assert (found.engine, found.threads) == ("BVLC Caffe 1.0.0-rc5", 3)
    assert "torch" not in found.versions and "numpy" in found.versions  # torch may be loaded, and computes nothing
    del bvlc.__version__
    assert engine.describe() == "BVLC Caffe of unknown version"


def test_a_build_knows_one_precision(bvlc, monkeypatch):
    monkeypatch.setenv("CAFFE_PRECISION", "bf16")
    with pytest.raises(UserError, match="PRECISION"):
        engine.start()


def test_a_gpu_is_recorded_by_its_name(monkeypatch):
    monkeypatch.setattr("torch.cuda.get_device_name", lambda number: f"Some GPU {number}")
    monkeypatch.setattr("torch.version.cuda", "13.0")
    engine.start()
    found = engine.environment(1)
    assert (found.device, found.cuda) == ("Some GPU 1", "13.0")


@pytest.fixture
def no_folder_of_images(monkeypatch):
    for name in "CAFFE_IMAGE_CACHE", "CAFFE_IMAGE_CACHE_BYTES":
        monkeypatch.setenv(name, "")  # so that what the test sets is taken back
        monkeypatch.delenv(name)


def test_what_decoded_images_take_is_said_with_their_limit(no_folder_of_images, tmp_path, capsys):
    folder = tmp_path / engine.IMAGES
    folder.mkdir()
    with open(folder / "one", "wb") as file:
        file.truncate(300_000_000)
    engine.start(images=tmp_path)
    assert f"0.3 GB of at most 4.3 GB in {folder}" in capsys.readouterr().out
    assert os.environ["CAFFE_IMAGE_CACHE_BYTES"] == str(engine.IMAGES_BYTES)


def test_a_user_s_folder_and_limit_of_decoded_images_stand(no_folder_of_images, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CAFFE_IMAGE_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("CAFFE_IMAGE_CACHE_BYTES", "200000000")
    engine.start(images=tmp_path)
    assert f"0.0 GB of at most 0.2 GB in {tmp_path / 'own'}" in capsys.readouterr().out
    monkeypatch.setenv("CAFFE_IMAGE_CACHE_BYTES", "4G")
    with pytest.raises(UserError, match="CAFFE_IMAGE_CACHE_BYTES"):
        engine.start(images=tmp_path)


def test_a_build_keeps_no_decoded_images(no_folder_of_images, bvlc, tmp_path, capsys):
    engine.start(images=tmp_path)
    assert "CAFFE_IMAGE_CACHE" not in os.environ and not capsys.readouterr().out
