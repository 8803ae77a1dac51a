"""make data and make models: tools/fetch.py as a user calls it, without a network."""

import zipfile

import pytest

from sentiment import dataset, download


@pytest.fixture
def archive(shared, tmp_path):
    """The DeepSent images in a zip, in a folder as the archive has them."""
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
        for image in (shared / "data" / "deepsent" / "images").iterdir():
            packed.write(image, f"Agg_AMT_Candidates/{image.name}")
    return path


def test_an_archive_that_is_not_there(tool, tmp_path, capsys):
    assert tool("fetch", "data", "--archive", tmp_path / "nowhere.zip", "--out", tmp_path / "out") == 2
    assert capsys.readouterr().err.endswith(f": error: ARCHIVE: no file {tmp_path / 'nowhere.zip'}\n")
    assert not (tmp_path / "out").exists()


def test_data_from_an_archive(tool, archive, tmp_path, capsys):
    out = tmp_path / "data" / "deepsent"
    assert tool("fetch", "data", "--archive", archive, "--out", out) == 0
    loaded = dataset.load(out)
    assert loaded.deepsent
    assert loaded.missing(dataset.manifest()) == []
    assert capsys.readouterr().out.endswith("1,269 images\n")
    assert [path.name for path in out.parent.iterdir()] == ["deepsent"]
    assert tool("fetch", "data", "--out", out) == 0
    assert "has all 1,269 images" in capsys.readouterr().out


def test_an_archive_without_the_images_leaves_nothing(tool, tmp_path, capsys):
    path = tmp_path / "archive.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("Agg_AMT_Candidates/a.jpg", b"x")
    assert tool("fetch", "data", "--archive", path, "--out", tmp_path / "data" / "deepsent") == 2
    assert "1,269 of the 1,269 images are not in it" in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(tool, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("mine")
    assert tool("fetch", "data", "--out", tmp_path) == 2
    assert "is there and is not the DeepSent data" in capsys.readouterr().err
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_models_goes_on_after_one_that_cannot_be_had(tool, tmp_path, capsys):
    for name in ("gone", "there"):
        (tmp_path / f"{name}.yaml").write_text(f"title: x\nabout: x\nfile: {name}.caffemodel\nmean: [1, 2, 3]\n")
    (tmp_path / "there.caffemodel").touch()
    assert tool("fetch", "models", "all", "--models", tmp_path) == 2
    printed = capsys.readouterr()
    assert "gone: gone.caffemodel is missing" in printed.err
    assert f"there: {tmp_path}/there.caffemodel, mean (1.0, 2.0, 3.0)" in printed.out


def test_a_model_that_cannot_be_had_is_one_sentence(tool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 1)
    (tmp_path / "mine.yaml").write_text(
        "title: x\nabout: x\nfile: mine.caffemodel\nmean: [1, 2, 3]\nlinks: [http://127.0.0.1:9/x]\nwhere: our page\n"
    )
    assert tool("fetch", "models", "mine", "--models", tmp_path) == 2
    assert capsys.readouterr().err.partition("error: ")[2] == (
        "mine.caffemodel is missing and no link gives it (no connection): get it elsewhere (our page) and put it at "
        f"{tmp_path}/mine.caffemodel\n"
    )
