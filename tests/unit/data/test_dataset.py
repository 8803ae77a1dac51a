"""DATA folders in both layouts, and dataset.yaml."""

import shutil

import pytest

from sentiment import paper
from sentiment.data import dataset, lists
from sentiment.utils.errors import UserError


@pytest.fixture
def data(tmp_path):
    """A DATA folder of six images with labels for two subsets."""
    folder = tmp_path / "my photos"
    (folder / "images").mkdir(parents=True)
    pairs = [(f"{number}.jpg", number % 2) for number in range(6)]
    for name, _ in pairs:
        (folder / "images" / name).touch()
    (folder / "twitter_five_agrees.txt").write_text(lists.text(pairs[:5]))
    (folder / "twitter_three_agrees.txt").write_text(lists.text(pairs))
    return folder


def test_own_layout(data):
    loaded = dataset.load(data)
    assert loaded.images == data / "images"
    assert loaded.name == "my-photos"
    assert not loaded.deepsent
    assert not loaded.demo
    assert list(loaded.labels) == ["five_agrees", "three_agrees"]
    assert loaded.subset("five_agrees") == [("0.jpg", 0), ("1.jpg", 1), ("2.jpg", 0), ("3.jpg", 1), ("4.jpg", 0)]


def test_a_subset_without_labels_is_a_sentence(data):
    with pytest.raises(UserError, match=r"no labels for four_agrees: expected .*twitter_four_agrees\.txt"):
        dataset.load(data).subset("four_agrees")


@pytest.mark.parametrize(
    "names", [("twitter_{}.txt", "s"), ("{}.txt", "s"), ("{}.txt", ""), ("ground_truth/{}.txt", "s")]
)
@pytest.mark.parametrize("inside", [False, True])
def test_archive_layout(tmp_path, names, inside):
    pattern, plural = names
    (tmp_path / "Agg_AMT_Candidates").mkdir()
    (tmp_path / "Agg_AMT_Candidates" / "a.jpg").touch()
    path = tmp_path / pattern.format(f"five_agree{plural}")
    path.parent.mkdir(exist_ok=True)
    path.write_text("a.jpg 1\n")
    loaded = dataset.load(tmp_path / "Agg_AMT_Candidates" if inside else tmp_path)
    assert loaded.labels == {"five_agrees": [("a.jpg", 1)]}
    assert loaded.missing(["a.jpg", "b.jpg"]) == ["b.jpg"]


def test_manifest_has_the_papers_counts():
    for subset in paper.SUBSETS:
        assert len(dataset.manifest_labels(subset)) == paper.LABELLED_IMAGES[subset]


def deepsent_like(folder, names):
    (folder / "images").mkdir(parents=True)
    labels = [pair for pair in dataset.manifest_labels("five_agrees") if pair[0] in names]
    (folder / "twitter_five_agrees.txt").write_text(lists.text(labels))
    return dataset.load(folder)


def test_deepsent_is_recognised_by_its_names_in_any_folder(tmp_path):
    names = [name for name, _ in dataset.manifest_labels("five_agrees")]
    assert deepsent_like(tmp_path / "whatever", set(names)).name == "deepsent"
    assert deepsent_like(tmp_path / "as published", set(names[2:])).deepsent  # the folds use 880 of 882
    part = deepsent_like(tmp_path / "part", set(names[:100]))
    assert not part.deepsent
    assert part.name == "part"


def test_bare_archive_gets_the_known_labels(tmp_path):
    images = tmp_path / "Agg_AMT_Candidates"
    images.mkdir()
    for name in dataset.manifest():
        (images / name).touch()
    loaded = dataset.load(images)
    assert loaded.deepsent
    assert {subset: len(pairs) for subset, pairs in loaded.labels.items()} == paper.LABELLED_IMAGES
    next(images.iterdir()).unlink()
    with pytest.raises(UserError, match="no label file"):
        dataset.load(images)


def test_real_deepsent(shared):
    loaded = dataset.load(shared / "data" / "deepsent")
    assert loaded.deepsent
    assert all(dict(loaded.subset(subset)) == dict(dataset.manifest_labels(subset)) for subset in paper.SUBSETS)
    assert loaded.missing(dataset.manifest()) == []


def test_folders_that_are_not_data_are_sentences(tmp_path):
    with pytest.raises(UserError, match="DATA: .*absent is not a folder; run `make data`"):
        dataset.load(tmp_path / "absent")
    with pytest.raises(UserError, match="has no folder images or .*; give the folder"):
        dataset.load(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match="has no label file"):
        dataset.load(tmp_path)


def test_an_image_listed_twice_is_refused_in_label_files(data):
    with open(data / "twitter_five_agrees.txt", "a") as file:
        file.write("1.jpg 0\n")
    with pytest.raises(UserError, match=r"twitter_five_agrees\.txt, line 6: 1\.jpg is already listed in line 2"):
        dataset.load(data)


def test_dataset_yaml(data):
    (data / "dataset.yaml").write_text(
        "name: Drawn pictures\ndemo: true\nnote: drawn\nbatch_size: 64\niterations: {five_agrees: 60}\nbase_lr: 0.01\n"
    )
    loaded = dataset.load(data)
    assert (loaded.name, loaded.demo, loaded.note) == ("Drawn-pictures", True, "drawn")
    assert loaded.setting("batch_size", "five_agrees") == 64
    assert loaded.setting("iterations", "five_agrees", 180) == 60
    assert loaded.setting("iterations", "three_agrees", 255) == 255
    assert loaded.setting("momentum", "five_agrees") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("batchsize: 64", "unknown key 'batchsize'; known are name, note, demo"),
        ("batch_size: 0", "batch_size must be a whole number above zero, not 0"),
        ("batch_size: 1.5", "batch_size must be a whole number above zero"),
        ("base_lr: true", "base_lr must be a number above zero, not True"),
        ("iterations: {two_agrees: 5}", "iterations: unknown key 'two_agrees'"),
        ("demo: 1", "demo must be true or false"),
        ("name: [", "not valid YAML"),
        ("- a", "expected `key: value` lines"),
    ],
)
def test_wrong_dataset_yaml_is_a_sentence(data, text, sentence):
    (data / "dataset.yaml").write_text(text)
    with pytest.raises(UserError, match=rf"dataset\.yaml: {sentence}"):
        dataset.load(data)


def test_name_is_always_fit_for_a_folder(data):
    moved = data.with_name("  ..")
    shutil.move(data, moved)
    assert dataset.load(moved).name == "data"
