"""A forked child computes with nets of its own and with those it inherits, and gives its parent's numbers."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import cv2
import lmdb
import numpy as np
import pytest
import torch

import caffe
from caffe.proto import caffe_pb2
from caffe.random.rng import global_stream
from caffe.runtime.background import Task
from caffe.runtime.blob import from_array
from helpers.layer_checks import FORCED, build, input_layer, values

SHAPE = (4, 3, 64, 64)
BODY = """
layer { name: 'c' type: 'Convolution' bottom: 'data' top: 'c' convolution_param { num_output: 16 kernel_size: 3
  weight_filler { type: 'gaussian' std: 0.1 } } }
layer { name: 'n' type: 'LRN' bottom: 'c' top: 'n' }
layer { name: 'ip' type: 'InnerProduct' bottom: 'n' top: 'ip' inner_product_param { num_output: 50
  weight_filler { type: 'gaussian' std: 0.01 } } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'ip' bottom: 'label' top: 'loss' }
"""
PATIENCE = 120  # seconds, for a busy machine; a child that waits for threads it has not got waits for ever
FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def in_child(function, *args):
    """What the function returns in a forked child."""
    ours, theirs = FORK.Pipe(duplex=False)
    child = FORK.Process(target=lambda: theirs.send(function(*args)), daemon=False)
    child.start()
    theirs.close()
    try:
        assert ours.poll(PATIENCE), "the child hangs"
        return ours.recv()
    finally:
        child.kill()
        child.join()


def new_net():
    caffe.set_random_seed(1)
    return build(FORCED + input_layer("data", SHAPE) + input_layer("label", SHAPE[:1]) + BODY, caffe.TRAIN)


def passes(net=None):
    """The bytes of what a forward and a backward pass give, of a new net where none is given."""
    net = net or new_net()
    net.blobs["data"].data[...] = values(0, SHAPE)
    net.blobs["label"].data[...] = 7
    net.clear_param_diffs()
    net.forward()
    net.backward()
    blobs = [*net.blobs.values(), *(blob for blobs in net.params.values() for blob in blobs)]
    return [view.tobytes() for blob in blobs for view in (blob.data, blob.diff)]


def steps(solver):
    """The weights after two more iterations."""
    solver.step(2)
    return [blob.data.tobytes() for blobs in solver.net.params.values() for blob in blobs]


def test_a_child_runs_the_net_it_inherits_and_one_of_its_own():
    net = new_net()
    expected = passes(net)
    assert in_child(passes, net) == expected
    assert in_child(passes) == expected
    assert passes(net) == expected  # the parent goes on too
    assert in_child(torch.get_num_threads) == 2


def at_once(function, count=16):
    """What the function returns in threads that start together."""
    start = threading.Barrier(count)
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda _: (start.wait(), function())[1], range(count)))


def test_threads_of_a_child_compute_at_once():
    array = np.ones(200_000, np.float32)
    for _ in range(8):  # more than half of the children failed once
        assert in_child(at_once, lambda: float(from_array(array).sum())) == [200_000.0] * 16


def test_children_of_children_and_of_threads():
    net = new_net()
    expected = passes(net)
    assert in_child(in_child, passes, net) == expected
    assert in_child(lambda: [passes(net), in_child(passes, net), passes(net)]) == [expected] * 3
    found = []
    thread = threading.Thread(target=lambda: found.append((passes(net), in_child(passes, net))))
    thread.start()
    thread.join()
    assert found == [(expected, expected)]


def test_a_pool_of_processes_answers():
    expected = passes(new_net())
    with ProcessPoolExecutor(2, mp_context=FORK) as pool:
        answers = [pool.submit(passes) for _ in range(3)]
        assert [answer.result(PATIENCE) for answer in answers] == [expected] * 3


def solver_of(data_layer, tmp_path):
    (tmp_path / "net.prototxt").write_text(data_layer + BODY)
    param = caffe_pb2.SolverParameter(
        train_net=str(tmp_path / "net.prototxt"), base_lr=0.01, momentum=0.9, lr_policy="fixed", random_seed=3
    )
    return caffe.get_solver(param)


@pytest.fixture
def pictures(tmp_path):
    """A list of pictures large enough that OpenCV resizes them with several threads, and an LMDB of them."""
    lines, records = [], {}
    for i in range(6):
        image = np.random.default_rng(i).integers(0, 256, (700, 900, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), image)
        lines.append(f"{tmp_path / f'{i}.png'} {i}\n")
        small = np.ascontiguousarray(image[:64, :64].transpose(2, 0, 1))
        datum = caffe_pb2.Datum(channels=3, height=64, width=64, data=small.tobytes(), label=i)
        records[f"{i:03}".encode()] = datum.SerializeToString()
    (tmp_path / "list.txt").write_text("".join(lines))
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 24) as environment, environment.begin(write=True) as transaction:
        for key, value in records.items():
            transaction.put(key, value)
    return {
        "ImageData": "image_data_param { batch_size: 4 shuffle: true new_height: 64 new_width: 64 "
        f"source: '{tmp_path / 'list.txt'}' }} transform_param {{ scale: 0.01 mirror: true }}",
        "Data": f"data_param {{ batch_size: 4 backend: LMDB source: '{tmp_path / 'db'}' }} "
        "transform_param { scale: 0.01 crop_size: 60 mirror: true }",
    }


@pytest.mark.parametrize("kind", ["ImageData", "Data"])
def test_a_training_goes_on_in_a_child_as_it_would_have_in_its_parent(kind, pictures, tmp_path):
    data = f"layer {{ name: 'data' type: '{kind}' top: 'data' top: 'label' {pictures[kind]} }}"
    solver = solver_of(data, tmp_path)
    solver.step(2)
    inherited = in_child(steps, solver)
    assert in_child(in_child, steps, solver) == inherited
    assert steps(solver) == inherited
    assert in_child(lambda: steps(solver_of(data, tmp_path))) == steps(solver_of(data, tmp_path))


def test_a_stream_that_draws_ahead_goes_on_in_child_and_parent():
    caffe.set_random_seed(3)
    first = global_stream().words_ahead(5).tolist()

    def more():
        return [*global_stream().words_ahead(3).tolist(), *global_stream().words(3).tolist()]

    assert in_child(more) == more()
    assert first == np.random.RandomState(3).randint(0, 2**32, 5, np.uint32).tolist()


def test_a_fork_waits_for_what_runs_in_the_background():
    begun, lock = threading.Event(), threading.Lock()

    def work():
        with lock:
            begun.set()
            time.sleep(0.3)
        return os.getpid()

    task = Task(work)
    begun.wait()

    def ask():
        with lock:
            return task.result()

    assert in_child(ask) == os.getpid()
    assert task.result() == os.getpid()
