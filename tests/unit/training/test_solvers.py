"""Schedules give the paper's numbers for the paper's data, and sensible ones for any other."""

import pytest
from google.protobuf import text_format

from caffe.proto import caffe_pb2
from sentiment import paper
from sentiment.networks import architectures
from sentiment.training import solvers
from sentiment.utils.errors import UserError

TRAIN_IMAGES = {"five_agrees": 704, "four_agrees": 892, "three_agrees": 1012}


@pytest.mark.parametrize("subset", paper.SUBSETS)
def test_the_paper_s_iterations_and_steps_follow_from_its_epochs(subset):
    schedule = solvers.schedule("finetune", TRAIN_IMAGES[subset])
    assert (schedule.iterations, schedule.stepsize) == (paper.ITERATIONS[subset], paper.STEP[subset])
    assert (schedule.batch_size, schedule.base_lr) == (256, 0.001)
    assert (schedule.gamma, schedule.momentum, schedule.weight_decay) == (0.1, 0.9, 0.0005)


def test_half_the_batch_is_twice_the_iterations():
    schedule = solvers.schedule("finetune", 704, {"batch_size": 128})
    assert (schedule.iterations, schedule.stepsize) == (360, 33)


def test_architectures_with_values_of_their_own():
    assert solvers.schedule("fc6-2", 704).base_lr == 0.0001
    squeezenet = solvers.schedule("squeezenet", 704)
    own = {"batch_size": 32, "iterations": 135, "base_lr": 2e-5, "stepsize": 90}
    assert {name: getattr(squeezenet, name) for name in own} == own


def test_the_command_line_wins_over_the_data_set_over_the_architecture():
    data = {"base_lr": 0.01, "batch_size": 64, "iterations": 60, "stepsize": None}
    assert solvers.schedule("squeezenet", 704, data).base_lr == 0.01
    both = solvers.schedule("squeezenet", 704, data, {"base_lr": 0.02, "iterations": None, "unrelated": 3})
    assert solvers.schedule("fc6-2", 704, data).base_lr == 0.001  # a tenth of the default, whatever that is
    assert solvers.schedule("fc6-2", 704, data, {"base_lr": 0.01}).base_lr == 0.01
    assert (both.base_lr, both.iterations, both.batch_size, both.stepsize) == (0.02, 60, 64, 90)


@pytest.mark.parametrize("name", ["batch_size", "iterations", "base_lr", "stepsize"])
@pytest.mark.parametrize("value", [0, -1])
def test_values_that_cannot_be_trained_with_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        solvers.schedule("finetune", 704, {name: value})


@pytest.mark.parametrize(
    ("images", "largest", "expected"),
    [
        (176, 256, (176, 1)),
        (176, 32, (22, 8)),
        (223, 256, (223, 1)),
        (253, 32, (23, 11)),
        (223, 32, (32, 7)),
        (1, 8, (1, 1)),
    ],
)
def test_a_test_covers_the_list(images, largest, expected):
    size, batches = solvers.covering_batches(images, largest)
    assert (size, batches) == expected
    assert images <= size * batches < images + size
    assert size <= largest


def test_the_definition_says_what_the_schedule_says():
    values = solvers.schedule("finetune", 892)
    definition = solvers.solver(values, "net.prototxt", "snapshot", 3, seed=5)
    assert (definition.max_iter, definition.stepsize, definition.random_seed) == (225, 21, 5)
    assert (definition.lr_policy, definition.display, list(definition.test_iter)) == ("step", 1, [3])
    assert definition.solver_mode == caffe_pb2.SolverParameter.CPU
    assert solvers.solver(values, "n", "s", 1, gpu=True).solver_mode == caffe_pb2.SolverParameter.GPU


def test_tests_of_long_lists_are_rarer():
    for arch in architectures.TRAINED:
        for subset in paper.SUBSETS:
            images = paper.IMAGES[subset]
            batch = solvers.schedule(arch, images * 4 // 5).batch_size
            assert solvers.test_every(images // 5, batch) == solvers.TEST_EVERY
    for images in 10_000, 1_000_000:
        every = solvers.test_every(images, 256)
        assert images / solvers.FORWARD <= 0.1 * 256 * every  # passes of a test, and of the training between two
    assert solvers.solver(solvers.schedule("finetune", 892), "n", "s", 1, test_interval=77).test_interval == 77


def test_committed_solvers(root):
    for arch in architectures.TRAINED:
        name = architectures.folder_name(arch)
        net = text_format.Parse((root / "prototxt" / name / "train_val.prototxt").read_text(), caffe_pb2.NetParameter())
        test_batch = net.layer[1].image_data_param.batch_size
        for subset in paper.SUBSETS:
            path = root / "solvers" / f"{subset}_{name}.prototxt"
            solver = text_format.Parse(path.read_text(), caffe_pb2.SolverParameter())
            assert solver.net == f"prototxt/{name}/train_val.prototxt"
            test_images = paper.IMAGES[subset] // 5
            own = {"pcnn": solvers.schedule("pcnn", 4 * test_images).iterations, "squeezenet": 135, "googlenet": 84}
            assert solver.max_iter == own.get(arch, paper.ITERATIONS[subset])
            assert test_images <= solver.test_iter[0] * test_batch < test_images + test_batch


def test_folds_have_seeds_that_no_other_fold_or_repeat_has():
    assert [solvers.fold_seed(1701, fold) for fold in paper.FOLDS] == [
        1701, 100_001_701, 200_001_701, 300_001_701, 400_001_701,
    ]  # fmt: skip
    for first in (0, 1701, solvers.SEEDS - 300_000_000):
        found = [solvers.fold_seed(seed, fold) for seed in range(first, first + 1000) for fold in paper.FOLDS]
        assert len(set(found)) == len(found) and 0 <= min(found) <= max(found) < solvers.SEEDS
