"""Caffe's tools beside ``caffe`` itself: they make databases, extract features and upgrade files (tools/*.cpp).

Each function takes the flags and the arguments of a command of `cli`; the exit status is what it returns, or 0.
"""

import contextlib

import numpy as np
import torch

from . import names
from .data import imageset
from .data.databases import check_backend, new_database
from .errors import CaffeError
from .formats import definitions, upgrade, write_whole
from .formats.storage import open_binary
from .nets.net import Net
from .proto import caffe_pb2
from .runtime import mode
from .runtime.glog import definition, log

_EACH = 1000  # records per transaction, as in Caffe


def convert_imageset(flags, root, source, database):
    """Make a database of the images in a list."""
    check_backend(flags.backend)
    height, width = max(0, flags.resize_height), max(0, flags.resize_width)
    if bool(height) != bool(width):
        raise CaffeError("Give both -resize_height and -resize_width, or neither.")
    imageset.convert_imageset(
        root,
        source,
        database,
        height,
        width,
        color=not flags.gray,
        encoded=flags.encoded,
        encode_type=flags.encode_type,
        shuffle=flags.shuffle,
        check_size=flags.check_size,
        backend=flags.backend,
    )


def compute_image_mean(flags, database, output=None):
    """Compute the mean image of a database."""
    imageset.compute_image_mean(database, output, flags.backend)


def convert_mnist_data(flags, images, labels, database):
    """Make a database of MNIST."""
    check_backend(flags.backend)
    imageset.convert_mnist(images, labels, database, flags.backend)


def convert_mnist_siamese_data(_, images, labels, database):
    """Make a LevelDB of pairs of MNIST's images."""
    imageset.convert_mnist_siamese(images, labels, database)


def convert_cifar_data(_, source, folder, kind):
    """Make two databases of CIFAR-10."""
    imageset.convert_cifar(source, folder, kind)


def extract_features(_, weights, model, blobs, databases, batches, kind, device="CPU", number="0"):
    """Write what blobs hold in the first batches of a net, one record per item, each blob to its own new database.

    ``blobs`` and ``databases`` are separated by commas. All databases appear, or none.
    """
    tool = "extract_features.cpp"
    if not batches.isdecimal() or not number.isdecimal():
        raise CaffeError(f"num_mini_batches and DEVICE_ID must be whole numbers, not '{batches}' and '{number}'.")
    if device == "GPU":
        log(f"{tool}:52", "Using GPU", level=2)
        log(f"{tool}:58", f"Using Device_id={number}", level=2)
        if not torch.cuda.is_available():
            raise CaffeError("Cannot use a GPU: torch sees no CUDA device here; leave out GPU to run on the CPU.")
        mode.set_device(int(number))
        mode.set_mode_gpu()
    else:
        log(f"{tool}:62", "Using CPU", level=2)
        mode.set_mode_cpu()
    check_backend(kind)
    net = Net(model, caffe_pb2.TEST)
    net.copy_from(weights)
    wanted, paths = blobs.split(","), databases.split(",")
    if len(wanted) != len(paths):
        raise CaffeError(f"the number of blob names and dataset names must be equal, not {blobs} and {databases}.")
    for name in wanted:
        if name not in net.blobs:
            raise CaffeError(f"Unknown feature blob name {name} in the network {model}; it has {', '.join(net.blobs)}.")
    with contextlib.ExitStack() as opened, net.without_backward():
        puts = []
        for path in paths:
            log(f"{tool}:125", f"Opening dataset {path}")
            puts.append(opened.enter_context(new_database(path, kind)))
        log(f"{tool}:133", "Extracting Features", level=2)
        counts, waiting = [0] * len(wanted), [[] for _ in wanted]
        for _batch in range(int(batches)):
            net.run_forward()
            for i, name in enumerate(wanted):
                blob = net.blobs[name]
                shape = {"channels": blob.channels, "height": blob.height, "width": blob.width}
                for values in np.array(blob.data).reshape(blob.num, -1):
                    waiting[i].append((f"{counts[i]:010}", caffe_pb2.Datum(float_data=values, **shape)))
                    counts[i] += 1
                    if counts[i] % _EACH == 0:
                        puts[i](waiting[i])
                        waiting[i].clear()
                        log(f"{tool}:165", _extracted(counts[i], name), level=2)
        for i, name in enumerate(wanted):
            puts[i](waiting[i])
            log(f"{tool}:176", _extracted(counts[i], name), level=2)
    log(f"{tool}:181", "Successfully extracted the features!", level=2)


def _extracted(count, blob):
    return f"Extracted features of {count} query images for feature blob {blob}"


def upgrade_net_proto_text(_, source, target):
    """Write a net definition of any generation in the current form; 1 if fields had to be left out."""
    tool = "upgrade_net_proto_text.cpp"
    net = definitions.parse(source, caffe_pb2.NetParameter())
    status = _upgrade_net(net, source, tool)
    write_whole(target, names.to_bytes(definition(net)), b"\n")
    log(f"{tool}:49", f"Wrote upgraded NetParameter text proto to {target}")
    return status


def upgrade_net_proto_binary(_, source, target):
    """Write a .caffemodel of any generation, parameters included, in the current form; 1 if fields are left out."""
    tool = "upgrade_net_proto_binary.cpp"
    net = caffe_pb2.NetParameter()
    raw = names.empty_of_bytes(net)
    with open_binary(source) as (file, _size):
        try:
            raw.ParseFromString(file.read())
        except Exception as error:  # protobuf's own, of which there are several
            raise CaffeError(f"Failed to parse input binary file as NetParameter: {source} ({error}).") from None
    names.take(net, raw)
    status = _upgrade_net(net, source, tool)
    write_whole(target, names.raw_of(net).SerializeToString(deterministic=True))
    log(f"{tool}:48", f"Wrote upgraded NetParameter binary proto to {target}")
    return status


def _upgrade_net(net, source, tool):
    if not upgrade.generations(net):
        log(f"{tool}:43", f"File already in latest proto format: {source}", level=2)
    problems = upgrade.upgrade_net(net, source)
    if problems:
        log(f"{tool}:39", "Encountered error(s) while upgrading prototxt; see details above.", level=2)
    return int(bool(problems))


def upgrade_solver_proto_text(_, source, target):
    """Write a solver definition with the ``type`` that its ``solver_type`` stands for."""
    tool = "upgrade_solver_proto_text.cpp"
    solver = definitions.parse(source, caffe_pb2.SolverParameter())
    if not solver.HasField("solver_type"):
        log(f"{tool}:43", f"File already in latest proto format: {source}", level=2)
    upgrade.upgrade_solver(solver, source)
    write_whole(target, names.to_bytes(definition(solver)), b"\n")
    log(f"{tool}:49", f"Wrote upgraded SolverParameter text proto to {target}")
