"""Accuracies, the choice of C, and the table."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.svm import SVC

from sentiment import paper
from sentiment.analysis import features, kernel_classifiers, layer_analysis, layer_summary
from sentiment.data.folds import Fold
from sentiment.report import layer_table, paper_tables, study
from sentiment.training.runs import Run
from sentiment.utils.errors import UserError
from sentiment.utils.files import write_json

GRID = [0.03125, 1.0, 32.0]
PLAIN = {"svm": SVC(kernel="linear"), "softmax": LogisticRegression(solver="liblinear", tol=1e-9)}
COUNT = 50


def layer(width, signal, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(COUNT, width))
    rows[:, 0] += signal * np.where(np.arange(COUNT) % 2, 1, -1)
    return rows


LAYERS = {"fc8_twitter": layer(2, 1.0, 0), "norm2": layer(30, 0.5, 1), "conv1": layer(200, 0.3, 2)}
LABELS = np.arange(COUNT) % 2
PAIRS = [(f"{index}.jpg", int(label)) for index, label in enumerate(LABELS)]


def make_run(root, layers=None, labels=LABELS, demo=False, weights="w", **more):
    """Gram files of five folds as tools/extract_features.py writes them."""
    layers = LAYERS if layers is None else layers
    pairs = [(name, int(label)) for (name, _), label in zip(PAIRS, labels, strict=True)]
    for fold in paper.FOLDS:
        test = pairs[(fold - 1) * 10 : fold * 10]
        lists = Fold([pair for pair in pairs if pair not in test], test)
        about = features.About(
            dataset="drawn", demo=demo, subset="five_agrees", arch="finetune", init="caffenet", mean_way="image",
            hashes={"weights": weights}, **more,
        )  # fmt: skip
        matrices = {name: rows @ rows.T for name, rows in layers.items()}
        widths = {name: rows.shape[1] for name, rows in layers.items()}
        path = Run(root, "five_agrees", "finetune", "caffenet", fold).folder / features.FILE
        features.write(path, about, dict(pairs), {fold: lists}, widths, matrices)


def read(root, nested=True, folds=paper.FOLDS):
    runs = [Run(root, "five_agrees", "finetune", "caffenet", fold) for fold in paper.FOLDS]
    return layer_analysis.read(runs, folds, nested)


def todo(folds):
    return [(fold.run.fold, layer) for fold in folds for layer in fold.todo]


def file_in(root):
    return root / "five_agrees" / "finetune-caffenet" / layer_summary.FILE


def analyse(root, nested=True, folds=paper.FOLDS):
    """Analyse the folds and write layers.json, as tools/analyze_layers.py does."""
    work = read(root, nested, folds)
    layer_analysis.analyse_folds(work, jobs=2)
    summary = layer_analysis.summary(work)
    layer_summary.write(file_in(root), summary)
    return summary


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    make_run(root)
    return root, analyse(root)


@pytest.mark.parametrize("classifier", layer_analysis.CLASSIFIERS)
@pytest.mark.parametrize("name", LAYERS)
def test_accuracies_are_those_of_scikit_learn_on_the_features(name, classifier):
    rows, (train, test) = LAYERS[name], np.split(np.random.default_rng(5).permutation(COUNT), [40])
    found, _ = layer_analysis.accuracies(rows @ rows.T, LABELS, [(train, test)], classifier, GRID)
    plain = PLAIN[classifier]
    expected = [plain.set_params(C=c).fit(rows[train], LABELS[train]).score(rows[test], LABELS[test]) for c in GRID]
    assert found == pytest.approx(expected)

    splits = [(train[part], train[held_out]) for part, held_out in StratifiedKFold(5).split(train, LABELS[train])]
    inner, fits = layer_analysis.accuracies(rows @ rows.T, LABELS, splits, classifier, GRID)
    search = GridSearchCV(plain, {"C": GRID}, cv=StratifiedKFold(5)).fit(rows[train], LABELS[train])
    assert inner == pytest.approx(search.cv_results_["mean_test_score"])
    assert len(fits) == 15


def test_the_paper_s_selection_takes_the_best_mean_on_the_test_images(analysed):
    _, summary = analysed
    for name in LAYERS:
        for classifier in layer_analysis.CLASSIFIERS:
            entry = getattr(summary.layers[name], classifier)
            table = np.array([entry.accuracy[fold] for fold in paper.FOLDS])
            assert table.shape == (5, 12)
            best = table.mean(0).max()
            assert np.mean(list(entry.paper.accuracy.values())) == pytest.approx(best)
            (exponent,) = set(entry.paper.exponent.values())  # one C for all folds
            column = paper.C_GRID_EXPONENTS.index(exponent)
            assert table.mean(0)[column] == pytest.approx(best)
            assert (table.mean(0)[:column] < best - 1e-9).all()  # the smallest of equals
            assert np.mean(list(entry.nested.accuracy.values())) <= best + 1e-12


def test_the_nested_selection_never_sees_the_test_images(analysed, tmp_path):
    """Other labels on one fold's test images change nothing of what is chosen for that fold."""
    _, summary = analysed
    labels = LABELS.copy()
    labels[:10] = 1 - labels[:10]
    make_run(tmp_path, labels=labels)
    for name, entry in analyse(tmp_path, folds=(1,)).layers.items():
        for classifier in layer_analysis.CLASSIFIERS:
            before, after = getattr(summary.layers[name], classifier), getattr(entry, classifier)
            assert after.inner[1] == before.inner[1]
            assert after.nested.exponent[1] == before.nested.exponent[1]
            assert after.accuracy[1] == pytest.approx([1 - value for value in before.accuracy[1]])


def test_a_finished_analysis_does_nothing(analysed):
    root, summary = analysed
    again = read(root)
    assert todo(again) == []
    assert layer_analysis.summary(again) == summary == layer_analysis.written(file_in(root))
    assert layer_summary.collect(root) == [summary]


def test_the_paper_s_selection_keeps_what_a_nested_one_found(analysed):
    root, summary = analysed
    assert layer_analysis.summary(read(root, nested=False)) == summary


def test_an_interrupted_analysis_resumes(tmp_path, monkeypatch):
    make_run(tmp_path)
    kept = []

    def interrupt_after_five(count):
        kept.append(count)
        if len(kept) == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        layer_analysis.analyse_folds(read(tmp_path), 1, interrupt_after_five)
    assert len(todo(read(tmp_path))) == 10
    calls, plain = [], layer_analysis.analyse
    monkeypatch.setattr(layer_analysis, "analyse", lambda *arguments: calls.append(1) or plain(*arguments))
    analyse(tmp_path)
    assert len(calls) == 10
    assert not todo(read(tmp_path))


def test_first_the_paper_s_selection_alone_then_the_nested_one(tmp_path):
    make_run(tmp_path, {"conv1": LAYERS["conv1"]})
    assert analyse(tmp_path, nested=False).selections == ["paper"]
    assert "nested" not in json.loads(file_in(tmp_path).read_text())["layers"]["conv1"]["svm"]
    assert len(todo(read(tmp_path))) == 5
    assert analyse(tmp_path).selections == ["paper", "nested"]


def test_other_features_are_analysed_again(tmp_path):
    make_run(tmp_path, {"conv1": LAYERS["conv1"]})
    analyse(tmp_path, nested=False)
    make_run(tmp_path, {"conv1": LAYERS["conv1"] + 1}, weights="other")
    assert len(todo(read(tmp_path, nested=False))) == 5


def test_fits_of_an_earlier_version_are_done_again_and_its_table_says_so(tmp_path):
    make_run(tmp_path, {"conv1": LAYERS["conv1"]})
    summary = analyse(tmp_path, nested=False)
    assert summary.classifiers == layer_analysis.FITTED
    assert "earlier version" not in layer_table.table(summary, "paper").markdown()
    parts = [fold.run.folder / layer_analysis.FOLD_FILE for fold in read(tmp_path, nested=False)]
    for path in parts:
        part = json.loads(path.read_text())
        del part["made_from"]["classifiers"]
        path.write_text(json.dumps(part))
    layer_summary.write(file_in(tmp_path), replace(summary, classifiers=None))
    assert "classifiers" not in json.loads(file_in(tmp_path).read_text())
    [old] = layer_summary.collect(tmp_path)
    assert old.classifiers != layer_analysis.FITTED
    assert "earlier version" in layer_table.table(old, "paper").markdown()
    assert len(todo(read(tmp_path, nested=False))) == 5


def test_features_of_another_precision_are_analysed_again_and_named(tmp_path):
    make_run(tmp_path, {"conv1": LAYERS["conv1"]})
    assert "computed in" not in layer_table.table(analyse(tmp_path, nested=False), "paper").markdown()
    make_run(tmp_path, {"conv1": LAYERS["conv1"]}, precision="bf16")
    assert len(todo(read(tmp_path, nested=False))) == 5
    assert "Features computed in bf16." in layer_table.table(analyse(tmp_path, nested=False), "paper").markdown()


def test_another_network_under_a_card_s_name_is_distinguished_from_it(tmp_path):
    make_run(tmp_path, {"norm2": LAYERS["norm2"]})
    for fold in paper.FOLDS:
        run = Run(tmp_path, "five_agrees", "finetune", "caffenet", fold)
        write_json(run.record, {"iterations": 1, "card": ""})
    summary = analyse(tmp_path, nested=False)
    assert "Net: finetune from caffenet (another network" in layer_table.table(summary, "paper").markdown()
    files = [table.file for table in paper_tables.table3(study.Study("drawn", False, [], [summary]))]
    assert files == ["table3", "table3-five_agrees-finetune-caffenet"]
    of_card = study.Study("drawn", False, [], [replace(summary, card="caffenet", init="copy")])
    [table] = paper_tables.table3(of_card)
    assert table.file == "table3" and "Net: CaffeNet, each" in table.markdown()


def test_the_folds_that_are_analysed_already(tmp_path):
    make_run(tmp_path, {"conv1": LAYERS["conv1"]})
    assert read(tmp_path, folds=()) == []
    analyse(tmp_path, nested=False, folds=(2, 4))
    assert [fold.run.fold for fold in read(tmp_path, nested=False, folds=())] == [2, 4]
    assert [fold.run.fold for fold in read(tmp_path, nested=False, folds=(3, 4))] == [2, 3, 4]
    assert read(tmp_path, folds=()) == []
    (Run(tmp_path, "five_agrees", "finetune", "caffenet", 4).folder / features.FILE).unlink()
    assert [fold.run.fold for fold in read(tmp_path, nested=False, folds=())] == [2]
    with pytest.raises(UserError, match="fold4"):
        read(tmp_path, nested=False, folds=(4,))


def test_too_few_images_of_a_class(tmp_path):
    labels = np.ones(COUNT, int)
    labels[[20, 30, 45]] = 0
    make_run(tmp_path, labels=labels)
    with pytest.raises(UserError, match=r"grams\.npz: fold 1 has 3 training images.*--selection paper"):
        read(tmp_path)
    assert todo(read(tmp_path, nested=False))


def test_table(analysed):
    _, summary = analysed
    table = layer_table.table(summary, "paper")
    assert "(the paper's way)" in table.title
    assert "optimistic" in table.markdown() and "population" in table.markdown()
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows) == list(LAYERS)
    chosen = summary.layers["conv1"].svm.paper
    mean, std = np.mean(list(chosen.accuracy.values())), np.std(list(chosen.accuracy.values()))
    score, exponents, published, difference = rows["conv1"][:4]
    assert (score.mean, score.std) == pytest.approx((mean, std))
    assert exponents == str(chosen.exponent[1])
    assert published.text() == ".667±.049"
    assert difference.value == pytest.approx(mean - 0.667)
    assert [rows["fc8_twitter"][column].text() for column in (2, 6)] == [".820±.055", ".821±.046"]

    nested = layer_table.table(summary, "nested", sample=True)
    assert nested.file == "table3-nested"
    assert "(nested)" in nested.title and "5-fold" in nested.markdown() and "sample" in nested.markdown()


def test_a_demo_says_so_in_the_first_line(analysed):
    _, summary = analysed
    assert "DEMO DATA" in layer_table.table(replace(summary, demo=True), "paper").markdown().splitlines()[0]
    assert "DEMO" not in layer_table.table(summary, "paper").markdown()


def test_a_net_of_another_build_has_no_numbers_of_the_paper(analysed):
    _, summary = analysed
    layers = {name: entry for name, entry in summary.layers.items() if name != "norm2"}
    assert ".667" not in layer_table.table(replace(summary, layers=layers), "paper").markdown()


def test_convergence_is_reported(tmp_path, monkeypatch, analysed):
    assert "all 1080 fits converged" in layer_table.table(analysed[1], "paper").markdown()
    monkeypatch.setattr(kernel_classifiers, "NEWTON_STEPS", 1)
    make_run(tmp_path, {"conv1": LAYERS["conv1"] * 100, "fc8_twitter": LAYERS["fc8_twitter"]})
    text = layer_table.table(analyse(tmp_path, nested=False), "paper").markdown()
    assert "SVM: all 120 fits converged" in text
    assert re.search(r"Softmax: \d+ of 120 fits stopped before they converged \(conv1 60, fc8_twitter \d+\)", text)
    # Classes that overlap in two features have no hard margin.
    assert "stays the same, from N = -5 (conv1) on" in text


def test_margins_hard_everywhere(tmp_path):
    make_run(tmp_path, {"conv1": LAYERS["conv1"] * 100})
    assert "from N = -5 (every layer) on" in layer_table.table(analyse(tmp_path, nested=False), "paper").markdown()


def test_a_damaged_summary_is_named(tmp_path):
    path = tmp_path / "five_agrees" / "finetune-caffenet" / layer_summary.FILE
    path.parent.mkdir(parents=True)
    for text in "[]", "{}", '{"layers": {}}':
        path.write_text(text)
        with pytest.raises(UserError, match=r"layers\.json"):
            layer_summary.collect(tmp_path)
        assert layer_analysis.written(path) is None
