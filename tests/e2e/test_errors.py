"""Bad input: one sentence that names what and where, exit status 2, nothing half-written."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

from caffe.runtime import mode
from helpers.commands import refused
from sentiment.data.means import binaryproto
from sentiment.utils import files
from sentiment.utils.files import PROJECT

MAKEFILE = PROJECT / "Makefile"


def with_init(tiny, init):
    return [*tiny.options[:-2], "--init", init]


def edit(path, change):
    path.write_text(change(path.read_text()))


def first_image(tiny, part="train"):
    return tiny.list(part).read_text().splitlines()[0].rsplit(" ", 1)[0]


def nothing_trained(tiny):
    return not [
        path
        for path in tiny.runs.rglob("*")
        if path.suffix in (".caffemodel", ".solverstate", ".json") and path.name != "run.json"
    ]


def test_missing_weights(tool, tiny, capfd):
    assert "nowhere.caffemodel" in refused(tool, capfd, "train", *with_init(tiny, "nowhere.caffemodel"))
    assert not tiny.runs.exists()


def test_an_unknown_precision_binds_no_run(tool, tiny, capfd, monkeypatch):
    monkeypatch.setenv("CAFFE_PRECISION", "fp16")
    sentence = refused(tool, capfd, "train", *tiny.options)
    assert "PRECISION: 'fp16' is none of float32, tf32, bf16" in sentence
    assert not tiny.runs.exists()


def test_unknown_init(tool, tiny, capfd):
    sentence = refused(tool, capfd, "train", *with_init(tiny, "cafenet"))
    assert "cafenet" in sentence
    assert "caffenet" in sentence
    assert not tiny.runs.exists()


def test_truncated_weights(tool, tiny, capfd, tmp_path):
    broken = tmp_path / "broken.caffemodel"
    broken.write_bytes(tiny.source.read_bytes()[:-1000])
    sentence = refused(tool, capfd, "train", *with_init(tiny, broken))
    assert "broken.caffemodel" in sentence and "ARCH" not in sentence
    assert nothing_trained(tiny)


def test_a_source_layer_of_another_shape(tool, tiny, capfd):
    edit(tiny.data / "dataset.yaml", lambda text: text.replace("channels_divisor: 16", "channels_divisor: 8"))
    sentence = refused(tool, capfd, "train", *tiny.options)
    assert "with a channels_divisor of 8 (" in sentence
    assert ": conv1 is 6×3×11×11 and 6, not 12×3×11×11 and 12; " in sentence
    assert not tiny.runs.exists()


def test_a_layer_neither_loaded_nor_filled(tool, tiny, capfd):
    sentence = refused(tool, capfd, "train", *tiny.options, "--arch", "squeezenet", "--iterations", 1)
    assert "conv1" in sentence
    assert nothing_trained(tiny)


@pytest.mark.parametrize(
    ("line", "words"), [("picture 0.jpg", "label"), ("picture 0.jpg 2", "2"), ("justaname", "label")]
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_wrong_list_line(tool, tiny, capfd, line, words, part):
    path = tiny.list(part)
    edit(path, lambda text: text.replace(text.splitlines()[2], line))
    sentence = refused(tool, capfd, "train", *tiny.options)
    assert f"{path}, line 3" in sentence
    assert words in sentence
    assert not tiny.runs.exists()


def test_a_listed_image_that_is_not_there(tool, tiny, capfd):
    name = first_image(tiny)
    (tiny.data / "images" / name).unlink()
    assert name in refused(tool, capfd, "train", *tiny.options)
    assert not tiny.runs.exists()


def test_an_image_that_is_no_image(tool, tiny, capfd):
    name = first_image(tiny)
    (tiny.data / "images" / name).write_text("no image")
    sentence = refused(tool, capfd, "train", *tiny.options, "--iterations", 8)
    assert name in sentence
    assert "line 1" in sentence
    assert nothing_trained(tiny)


def test_an_image_that_is_no_image_in_testing(tool, tiny, capfd):
    assert tool("train", *tiny.options, "--iterations", 1) == 0
    name = first_image(tiny, "test")
    (tiny.data / "images" / name).write_text("no image")
    sentence = refused(tool, capfd, "evaluate", *tiny.options)
    assert name in sentence
    assert f"{tiny.list('test')}, line 1" in sentence
    assert not (tiny.folder() / "result.json").exists()
    assert not (tiny.folder() / "predictions.csv").exists()


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.isdir("/proc/1"), reason="needs a place nobody can write to")
def test_unwritable_runs(tool, tiny, capfd):
    options = [*tiny.options, "--runs", "/proc/1/runs"]
    assert "/proc/1/runs" in refused(tool, capfd, "train", *options)


def test_runs_that_is_a_file(tool, tiny, capfd):
    tiny.runs.write_text("in the way")
    assert str(tiny.runs) in refused(tool, capfd, "train", *tiny.options)


def test_a_syntax_error_in_a_definition(tool, tiny, capfd, tmp_path):
    model = tmp_path / "deploy.prototxt"
    model.write_text('name: "x"\nlayer {\n  nmae: "data"\n}\n')
    sentence = refused(tool, capfd, "evaluate", "--model", model, "--weights", tiny.source, "--list", tiny.list("test"),
                       "--images", tiny.data / "images", "--out", tmp_path / "out")  # fmt: skip
    assert str(model) in sentence
    assert "3" in sentence
    assert "nmae" in sentence
    assert not (tmp_path / "out" / "predictions.csv").exists()


def test_no_fold_lists(tool, tiny, capfd):
    sentence = refused(tool, capfd, "train", *tiny.options, "--splits", tiny.runs)
    assert "make splits" in sentence


def test_a_fold_that_was_not_trained(tool, tiny, capfd):
    assert "train" in refused(tool, capfd, "evaluate", *tiny.options)


def test_test_images_that_were_trained_on(tool, tiny, capfd):
    assert tool("train", *tiny.options, "--iterations", 1) == 0
    tiny.list("test").write_text(tiny.list("train").read_text())
    assert str(tiny.list("test")) in refused(tool, capfd, "evaluate", *tiny.options)


def test_a_damaged_result(tool, tiny, capfd):
    tiny.folder().mkdir(parents=True)
    (tiny.folder() / "result.json").write_text("{")
    assert "result.json" in refused(tool, capfd, "make_tables", "--runs", tiny.runs)


def test_values_nothing_can_be_trained_with(tool, tiny, capfd):
    for option in "--batch-size", "--iterations", "--stepsize":
        for value in "0", "-1", "2.5":
            mistyped(tool, capfd, option, "train", *tiny.options, f"{option}={value}")
    for wrong in "base_lr=-1", "gamma=-0.1", "momentum=nan", "weight_decay=inf", "batch_size=2.5", "iterations=0":
        assert wrong.partition("=")[0] in refused(tool, capfd, "train", *tiny.options, "--set", wrong)
    for twice in (["--set", "mirror=0", "mirror=1"], ["--batch-size", 4, "--set", "batch_size=8"]):
        assert "given twice" in refused(tool, capfd, "train", *tiny.options, *twice)
    assert not tiny.runs.exists()


def mistyped(tool, capfd, option, *command):
    """Run a command whose options contradict each other or themselves: one line, that names an option."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        tool(*command)
    assert stop.value.code == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert option in said


NET = ("--model", "deploy.prototxt", "--weights", "w.caffemodel")


@pytest.mark.parametrize(
    ("option", "command"),
    [
        ("--batch-size", ("evaluate", "--batch-size", "0")),
        ("--batch-size", ("extract_features", "--batch-size", "-4")),
        ("--batch-size", ("sentiment_maps", "--batch-size", "0")),
        ("--batch-size", ("make_prototxt", "--batch-size", "0")),
        ("--batch-size", ("make_solver", "--batch-size", "x")),
        ("--batch-size", ("paper", "table2", "--batch-size", "0")),
        ("--iterations", ("paper", "table2", "--iterations", "-1")),
        ("--seeds", ("paper", "table2", "--seeds", "0")),
        ("--seeds", ("paper", "table2", "--seeds", "2", "--seed", "4294967295")),
        ("--cpus-per-run", ("paper", "table2", "--cpus-per-run", "2")),
        ("--gpus-per-run", ("paper", "table2", "--gpus-per-run", "0.5")),
        ("--cpus-per-run", ("paper", "table2", "--executor", "ray", "--cpus-per-run", "0")),
        ("--gpus-per-run", ("paper", "table2", "--executor", "ray", "--gpus-per-run", "2")),
        ("--input-size", ("sentiment_maps", "--input-size", "0")),
        ("--input-size", ("net_surgery", "--input-size", "-1")),
        ("--divisor", ("make_prototxt", "--divisor", "0")),
        ("--jobs", ("analyze_layers", "--jobs", "0")),
        ("--seed", ("make_solver", "--seed", "-1")),
        *(("--gpu", (name, "--gpu", "-1")) for name in ("train", "evaluate", "extract_features", "sentiment_maps")),
        *(("--gpu", (*name, "--gpu=-1")) for name in (("predict", "x.jpg"), ("serve",), ("paper",), ("make_solver",))),
        *(("--runs", (*name, *NET, "--runs", "r")) for name in (("predict", "x.jpg"), ("export",), ("net_surgery",))),
        ("--runs", ("evaluate", *NET, "--list", "l", "--images", "i", "--out", "o", "--runs", "r")),
        ("--fold", ("evaluate", *NET, "--list", "l", "--images", "i", "--out", "o", "--fold", "1")),
        ("--data", ("evaluate", *NET, "--list", "l", "--images", "i", "--out", "o", "--data", "d")),
        ("--list", ("evaluate", *NET)),
        *((f"--{name}", ("evaluate", f"--{name}", "x")) for name in ("weights", "list", "images", "mean", "out")),
        *(("--mean", (*name, "--mean", "1,2,3")) for name in (("predict", "x.jpg"), ("serve",))),
        *(("--weights", (*name, "--weights", "w")) for name in (("predict", "x.jpg"), ("export",), ("net_surgery",))),
        *(("--weights", (*name, "--model", "m")) for name in (("predict", "x.jpg"), ("export",), ("serve",))),
        ("--out", ("predict", "x.jpg", "--out", "maps")),
        ("--out", ("net_surgery", "--model", "m", "--out", "o")),
        *((f"--{name}", ("extract_features", "--source", f"--{name}", "1")) for name in ("fold", "seed", "variant")),
        ("--arch", ("extract_features", "--source", "--model", "m", "--arch", "finetune")),
        ("--model", ("extract_features", "--model", "m")),
        *((f"--{name}", ("analyze_layers", "--arch", "source", f"--{name}", "1")) for name in ("seed", "variant")),
        *((f"--{name}", ("plot_loss", "a.log", f"--{name}", "1")) for name in ("runs", "dataset", "fold")),
        ("--names", ("plot_loss", "--names", "a")),
    ],
)
def test_options_that_mean_nothing_or_contradict_are_refused(tool, capfd, tmp_path, monkeypatch, option, command):
    monkeypatch.chdir(tmp_path)
    mistyped(tool, capfd, option, *command)
    assert not list(tmp_path.iterdir())


def test_options_of_published_folds_and_of_shuffled_ones_are_apart(tool, tiny, capfd, monkeypatch):
    mistyped(tool, capfd, "--published", "split_folds", "--data", tiny.data, "--published", tiny.data)
    monkeypatch.setattr("sentiment.data.dataset._is_deepsent", lambda subset, pairs: True)
    mistyped(tool, capfd, "--seed", "split_folds", "--data", tiny.data, "--seed", 7, "--out", tiny.splits)


def test_folders_that_are_not_given_are_the_repositorys(tool, capfd, tmp_path, monkeypatch):
    for folder in PROJECT, PROJECT.parent, tmp_path, PROJECT / "tools":
        monkeypatch.chdir(folder)
        for name in "data/deepsent", "runs", "results", "splits":
            assert (folder / files.default(name)).resolve() == PROJECT / name
    monkeypatch.chdir(PROJECT)
    assert [str(files.default(name)) for name in ("data/deepsent", "runs")] == ["data/deepsent", "runs"]
    monkeypatch.chdir(tmp_path)
    said = refused(tool, capfd, "predict", "x.jpg", "--init", "nothing")
    assert said.startswith(str(PROJECT / "runs" / "five_agrees" / "finetune-nothing"))


def test_a_missing_mean(tool, tiny, capfd):
    assert "nowhere" in refused(tool, capfd, "train", *tiny.options, "--mean", "nowhere.binaryproto")


@pytest.mark.parametrize("name", sorted(path.stem for path in (PROJECT / "tools").glob("*.py")))
def test_help(tool, name, capfd):
    with pytest.raises(SystemExit) as stop:
        tool(name, "--help")
    assert stop.value.code == 0
    said = capfd.readouterr().out
    for words in ("usage:", "--verbose", "exit status: 0 done; 2 "):
        assert words in said


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("demo", ("--pictures", "0")),
        ("demo", ("--iterations", "0")),
        ("demo", ("--seed", "-1")),
        ("demo", ("--gpu", "-1")),
        ("demo_sources", ("--gpu", "-1")),
    ],
)
def test_an_impossible_number_is_refused_before_anything_is_made(tool, tmp_path, capfd, name, given):
    folder = "--out" if name == "demo" else "--data"
    with pytest.raises(SystemExit) as stop:
        tool(name, folder, tmp_path / "demo", *given)
    assert stop.value.code == 2 and f"argument {given[0]}: " in capfd.readouterr().err
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("given", "words"), [(("--arch", "fintune"), "'fintune' (choose from"), (("--iterations", "many"), "'many'")]
)
def test_a_mistyped_option_is_a_sentence_without_the_usage(tool, capfd, given, words):
    with pytest.raises(SystemExit) as stop:
        tool("train", *given)
    assert stop.value.code == 2
    (said,) = capfd.readouterr().err.splitlines()
    assert f": error: argument {given[0]}: " in said and words in said and "--help" in said


@pytest.mark.parametrize(
    ("given", "unknown"), [("ITER=3", True), ("fold=3", True), ("ITERS=3", False), ("PORT=80", False)]
)
def test_make_refuses_a_variable_it_does_not_know(given, unknown):
    process = make("help", given)
    assert process.returncode == (2 if unknown else 0)
    assert (f"no variable is called {given.partition('=')[0]};" in process.stderr) == unknown


def make(*words, **environment):
    """Call make as a user does, not as one that `make test` has started."""
    ours = {
        word
        for line in MAKEFILE.read_text().splitlines()
        if line.startswith("#: ")
        for word in line.split("##")[0].split()
    }
    of_make = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}
    usual = {name: value for name, value in os.environ.items() if name not in ours | of_make}
    command = ["make", "-o", ".venv/.set-up", *words]  # -o: no set-up in the middle of the tests
    return subprocess.run(command, cwd=PROJECT, env={**usual, **environment}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("fold", "EXECUTOR=ray"), "EXECUTOR is for "),
        (("fold-all", "FOLD=2"), "FOLD is for fold"),
        (("table2", "FOLD=2"), "FOLD is for fold"),
        (("paper", "SUBSET=all"), "SUBSET is for fold fold-all"),
        (("fold-all", "SEEDS=5"), "SEEDS is for "),
        (("fold", "ARCHIVE=x.zip"), "ARCHIVE is for data"),
        (("paper", "PORT=80"), "PORT is for serve"),
        (("report", "INIT=places"), "INIT is for "),
        (("serve", "ARCH=fc9"), "ARCH is for "),
        (("splits", "ITERS=5"), "ITERS is for "),
        (("models", "SEED=7"), "SEED is for "),
        (("report", "DUPLICATES=no"), "DUPLICATES is for "),
        (("report", "TWINS=no"), "TWINS is for "),
        (("report", "VARIANT=quick"), "VARIANT is for fold fold-all"),
        (("table2", "VARIANT=quick"), "VARIANT is for fold fold-all"),
    ],
)
def test_make_refuses_what_it_would_have_to_ignore(words, sentence):
    process = make(*words)
    assert process.returncode == 2 and sentence in process.stderr


def test_make_says_what_it_takes_from_the_environment():
    process = make("help", ARCH="x86_64", HOST="mine", FILE="y")
    assert process.stderr.endswith(": from the environment: ARCH=x86_64\n")
    assert "o'neil; touch x" in make("help", DATA="o'neil; touch x").stderr
    assert make("help").stderr == ""
    for target, word in (("serve", "mine"), ("models", "'y'")):
        assert word not in make("-n", target, HOST="mine", FILE="y").stdout


def test_a_seed_of_training_leaves_the_fold_lists_alone():
    split, *_ = make("-n", "fold", "SEED=7", "DATA=mine").stdout.splitlines()
    assert "split_folds" in split and "7" not in split
    assert "--seed '7'" in make("-n", "splits", "SEED=7", "DATA=mine").stdout


@pytest.mark.parametrize("given", ["DUPLICATES=no", "TWINS=no"])
def test_runs_without_duplicates_have_lists_and_folders_of_their_own(given):
    split, train, evaluate = make("-n", "fold", given).stdout.splitlines()
    assert "--no-duplicates" in split
    for command in train, evaluate:
        assert "--splits splits/no-duplicates" in command and "--variant 'no-duplicates'" in command
    assert "duplicates" not in make("-n", "fold").stdout + make("-n", "fold", "DUPLICATES=yes").stdout


def test_a_value_is_refused_by_the_tool_that_takes_it():
    process = make("splits", "DUPLICATES=maybe", f"PY={sys.executable}")
    assert process.returncode == 2 and "split_folds: error: " in process.stderr and "maybe" in process.stderr


def test_a_demo_goes_where_it_is_told():
    assert "RUNS='elsewhere'" in make("-n", "demo", "RUNS=elsewhere").stdout
    assert "RUNS='runs/demo'" in make("-n", "demo").stdout


@pytest.mark.parametrize("tool_name", ["train", "paper"])
def test_squeezenet_is_not_started_from_a_caffenet(tool, tmp_path, capfd, tool_name):
    sentence = refused(tool, capfd, tool_name, "--data", tmp_path, "--arch", "squeezenet", "--init", "caffenet")
    assert "ARCH=squeezenet" in sentence and "caffenet" in sentence and "INIT" in sentence


def test_a_mean_of_another_size_is_told_before_anything_is_made(tool, tiny, capfd, tmp_path):
    mean = tmp_path / "m227.binaryproto"
    mean.write_bytes(binaryproto(np.full((3, 227, 227), 100.0)))
    sentence = refused(tool, capfd, "train", *tiny.options, "--mean", mean)
    assert str(mean) in sentence and "227×227" in sentence and "256×256" in sentence
    mean.write_text("104 117 123")
    sentence = refused(tool, capfd, "train", *tiny.options, "--mean", mean)
    assert sentence.startswith(f"{mean} is not a mean image of three channels in binaryproto form; `make models FILE=")
    assert not tiny.runs.exists()


def test_weights_of_fewer_channels_say_what_to_write_where(tool, tiny, capfd):
    edit(tiny.data / "dataset.yaml", lambda text: text.replace("channels_divisor: 16\n", ""))
    sentence = refused(tool, capfd, "train", *tiny.options)
    assert "1/16 of the paper's: write `channels_divisor: 16` into" in sentence
    assert not tiny.runs.exists()


def test_a_start_that_failed_is_in_nobodys_way(tool, tiny, capfd, tmp_path):
    copy = tmp_path / "copy.caffemodel"
    copy.write_bytes(tiny.source.read_bytes())
    image = tiny.data / "images" / first_image(tiny)
    whole = image.read_bytes()
    image.write_bytes(b"none")
    refused(tool, capfd, "train", *with_init(tiny, copy))
    assert (tiny.folder(init="copy") / "run.json").is_file()
    image.write_bytes(whole)
    assert tool("train", *with_init(tiny, copy), "--seed", 1701, "--iterations", 2) == 0
    assert "no image" not in (tiny.folder(init="copy") / "train.log").read_text()


@pytest.mark.parametrize("seed", ["-1", "4294967296", "99999999999999999999", "x", "1.5"])
def test_a_seed_is_a_word_of_the_generator(tool, tiny, capfd, seed):
    for name in ("train", "evaluate", "paper", "split_folds"):
        with pytest.raises(SystemExit) as stop:
            tool(name, "--data", tiny.data, f"--seed={seed}")
        assert stop.value.code == 2
        assert re.search("--seed: .*4,294,967,295", capfd.readouterr().err)
    assert not tiny.runs.exists()


def test_too_little_memory_is_a_sentence(tool, tiny, capfd, monkeypatch):
    for error in (
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried 6"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(
                "sentiment.training.plans.Plan.train_val", lambda self, error=error: (_ for _ in ()).throw(error)
            )
            sentence = refused(tool, capfd, "train", *tiny.options)
        assert sentence == "there is not enough memory for this; try a smaller BATCH, or --batch-size"


def test_tf32_without_a_gpu_is_refused(tool, tiny, capfd, monkeypatch):
    monkeypatch.setenv("CAFFE_PRECISION", "tf32")
    for name in ("train", "evaluate", "extract_features"):  # the first two record it, the third's tables name it
        assert re.match("PRECISION: tf32 .*GPU", refused(tool, capfd, name, *tiny.options))
    assert not tiny.runs.exists()


def test_a_part_with_nets_of_its_own_takes_no_other(tool, tiny, capfd):
    with pytest.raises(SystemExit):
        tool("paper", "table5", "--data", tiny.data, "--init", "places")
    assert "--init is for table2, table3, figure7; table5 has nets of its own" in capfd.readouterr().err


def test_a_gpu_that_is_not_there_is_a_users_mistake(tool, tiny, capfd, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("caffe.runtime.mode._state", dict(mode._state))
    sentence = refused(tool, capfd, "train", *tiny.options, "--gpu", 3)
    assert "GPU 3" in sentence


def test_a_source_of_another_net_points_at_what_it_is(tool, tiny, capfd):
    said = refused(tool, capfd, "train", *with_init(tiny, tiny.source), "--arch", "squeezenet")
    assert f"`make models FILE={tiny.source.resolve()}` shows which ARCH it fits" in said
    assert not tiny.runs.exists()
