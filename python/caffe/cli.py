"""The ``caffe`` command: train, test, time, device_query (tools/caffe.cpp), and the tools that make data sets.

These tools are both commands of ``caffe`` and programs of their own, with the names of Caffe's tools.
"""

import contextlib
import functools
import signal
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

from . import names, tools
from .errors import CaffeError
from .formats import read_net, read_solver
from .nets.net import Net
from .proto import caffe_pb2
from .runtime import gflags, glog, mode
from .runtime.glog import log, number
from .solvers.definition import complete_snapshot_prefix
from .solvers.solver import NONE, SNAPSHOT, STOP, Solver

_EFFECTS = {"none": NONE, "stop": STOP, "snapshot": SNAPSHOT}
_USE_CPU = "leave out -gpu to run on the CPU"
_PHASES = {"TRAIN": caffe_pb2.TRAIN, "TEST": caffe_pb2.TEST}


def main(argv=None, tool="caffe"):
    """Run a command of ``caffe``, or another tool; the exit status is 0, or 2 for an error of the user.

    Upgrades that leave something out have status 1.
    """
    name = tool
    try:
        flags, words = gflags.parse(tool, sys.argv[1:] if argv is None else argv)
        command = tool if tool in _COMMANDS else None
        if command is None and words:
            command = words.pop(0)
        if flags.version:
            print(f"{tool} version 1.0.0")
            return 0
        if gflags.wants_help(vars(flags)):
            print(_usage(tool), gflags.describe(command or "train" if flags.helpshort else None), sep="\n")
            return 0
        if command is None:
            print(_usage(tool), file=sys.stderr)
            return 2
        if command not in _COMMANDS:
            raise CaffeError(f"Unknown action: {command} (there are {', '.join(_COMMANDS)}).")
        name = command if command == tool else f"{tool} {command}"
        run, _, arguments = _COMMANDS[command]
        least = len([word for word in arguments.split() if not word.startswith("[")])
        if not least <= len(words) <= len(arguments.split()):
            raise CaffeError(f"{command} takes {arguments or 'only flags'}, not '{' '.join(words)}'.")
        with glog.command(command if arguments else tool, flags):
            try:
                return run(flags, *words) or 0
            except CaffeError as error:
                glog.to_files("cli.py:1", error)
                raise
    except CaffeError as error:
        with contextlib.suppress(OSError):
            print(names.printable(f"{name}: error: {error}"), file=sys.stderr)
        return 2


def _usage(tool):
    if tool in _COMMANDS:
        _, text, arguments = _COMMANDS[tool]
        return f"{text}\nusage: {tool} [FLAGS] {arguments}"
    lines = ["command line brew", "usage: caffe <command> <args>", "", "commands:"]
    for name, (_, text, arguments) in _COMMANDS.items():
        lines.append(f"  {name:<20}{text}: {arguments}" if arguments else f"  {name:<20}{text}")
    return "\n".join(lines)


def _required(value, message):
    if not value:
        raise CaffeError(message)
    return value


def _iterations(flags):
    if flags.iterations < 1:
        raise CaffeError(f"-iterations must be at least 1, not {flags.iterations}.")
    return flags.iterations


def _devices(text):
    if text == "all":
        return list(range(torch.cuda.device_count()))
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise CaffeError(f"-gpu takes device numbers or 'all', not '{text}'.") from None


def _choose_device(gpu, advice=_USE_CPU):
    """Choose the first device in ``gpu`` and return it, None for the CPU; ``advice`` is for users without a GPU."""
    devices = _devices(gpu)
    if not gpu:
        mode.set_mode_cpu()
        return None
    if not torch.cuda.is_available():
        raise CaffeError(f"Cannot use a GPU: torch sees no CUDA device here; {advice}.")
    if not devices:
        raise CaffeError(f"-gpu takes device numbers or 'all', not '{gpu}'.")
    mode.set_device(devices[0])
    mode.set_mode_gpu()
    return devices[0]


def _stages(text):
    return names.of_path(text).split(",")  # without stages, there is one with an empty name, as in Caffe


def _effect(flags, name):
    text = getattr(flags, name)
    if text not in _EFFECTS:
        raise CaffeError(f"-{name} must be one of {', '.join(_EFFECTS)}, not '{text}'.")
    return _EFFECTS[text]


def _train(flags):
    path = _required(flags.solver, "Need a solver definition to train (-solver).")
    if flags.snapshot and flags.weights:
        raise CaffeError("Give a snapshot to resume training or weights to finetune but not both.")
    effects = _effect(flags, "sigint_effect"), _effect(flags, "sighup_effect")
    param = read_solver(path)
    complete_snapshot_prefix(param, path)
    param.train_state.level = flags.level
    param.train_state.stage.extend(_stages(flags.stage))
    gpu, advice = flags.gpu, _USE_CPU
    if param.HasField("solver_mode") and param.solver_mode == caffe_pb2.SolverParameter.GPU:
        leave_out = "leave out -gpu and " if gpu else ""
        advice = f"{path} has solver_mode: GPU; {leave_out}write solver_mode: CPU there to train on the CPU"
        gpu = gpu or str(param.device_id)
    device = _choose_device(gpu, advice)
    if len(_devices(flags.gpu)) > 1:
        raise CaffeError("One training runs on one GPU here; start one process per GPU for several trainings.")
    if device is None:
        log("caffe.cpp:197", "Use CPU.")
    else:
        log("caffe.cpp:204", f"Using GPUs {device}")
        log("caffe.cpp:209", f"GPU {device}: {torch.cuda.get_device_properties(device).name}")
        param.device_id = device
    if flags.snapshot or flags.weights:
        param.ClearField("weights")
    if flags.weights:
        param.weights.append(names.of_path(flags.weights))
    with _requests(*effects) as pending:
        solver = Solver(param)
        solver.action = lambda: pending.pop(0) if pending else NONE
        if flags.snapshot:
            log("caffe.cpp:235", f"Resuming from {flags.snapshot}")
            solver.restore(flags.snapshot)
        log("caffe.cpp:239", "Starting Optimization")
        solver.solve()
        log("caffe.cpp:250", "Optimization Done.")


@contextlib.contextmanager
def _requests(interrupt, hangup):
    """A list of the requests made by signals in this context, oldest first.

    SIGTERM, which kills BVLC Caffe, counts as SIGINT, because schedulers and containers stop programs with it.
    """
    pending = []
    before = {}
    for name, effect in (("SIGINT", interrupt), ("SIGTERM", interrupt), ("SIGHUP", hangup)):
        kind = signal.Signals[name]
        before[kind] = signal.signal(kind, lambda *_, action=effect: pending.append(action))
    try:
        yield pending
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _net(flags, phase):
    param = read_net(flags.model)
    param.state.phase = phase
    param.state.level = flags.level
    param.state.stage.extend(_stages(flags.stage))
    return Net.from_param(param)


def _test(flags):
    _required(flags.model, "Need a model definition to score (-model).")
    weights = _required(flags.weights, "Need model weights to score (-weights).")
    iterations = _iterations(flags)
    device = _choose_device(flags.gpu)
    if device is None:
        log("caffe.cpp:275", "Use CPU.")
    else:
        log("caffe.cpp:266", f"Use GPU with device ID {device}")
        log("caffe.cpp:270", f"GPU device name: {torch.cuda.get_device_properties(device).name}")
    net = _net(flags, caffe_pb2.TEST)
    for path in weights.split(","):
        net.copy_from(path)
    log("caffe.cpp:281", f"Running for {iterations} iterations.")
    sums, loss = {}, np.float32(0)
    with net.without_backward():
        for i in range(iterations):
            loss += np.float32(float(net.run_forward()))
            for name in net.outputs:
                for j, value in enumerate(net.blobs[name].tensor().reshape(-1).tolist()):
                    sums[name, j] = sums.get((name, j), np.float32(0)) + np.float32(value)
                    log("caffe.cpp:304", f"Batch {i}, {name} = {number(value)}")
    log("caffe.cpp:309", f"Loss: {number(loss / np.float32(iterations))}")
    for (name, _), total in sums.items():
        mean, weight = total / np.float32(iterations), np.float32(net.blob_loss_weights[name])
        shown = f" (* {number(weight)} = {number(weight * mean)} loss)" if weight else ""
        log("caffe.cpp:321", f"{name} = {number(mean)}{shown}")


def _phase(text):
    if text and text.upper() not in _PHASES:
        raise CaffeError(f"-phase must be TRAIN or TEST, not '{text}'.")
    return _PHASES[text.upper() or "TRAIN"]


def _time(flags):
    _required(flags.model, "Need a model definition to time (-model).")
    iterations, phase = _iterations(flags), _phase(flags.phase)
    device = _choose_device(flags.gpu)
    if device is None:
        log("caffe.cpp:343", "Use CPU.")
    else:
        log("caffe.cpp:339", f"Use GPU with device ID {device}")
    net = _net(flags, phase)
    wait = torch.cuda.synchronize if mode.is_gpu() else lambda: None
    log("caffe.cpp:351", "Performing Forward")
    log("caffe.cpp:356", f"Initial loss: {number(net.run_forward())}")
    log("caffe.cpp:357", "Performing Backward")
    net.run_backward()
    # From here on, layers run one by one. The first backward is not timed, because torch initialises itself in it.
    net.debug_info, net.needless_backward = False, True
    net.run_backward()
    log("caffe.cpp:365", "*** Benchmark begins ***")
    log("caffe.cpp:366", f"Testing for {iterations} iterations.")

    def passes(run, order, spent):
        for i in order:
            start = time.perf_counter()
            run(i, i)
            wait()
            spent[i] += time.perf_counter() - start

    indices = range(len(net.layers))
    forward, backward = [0.0] * len(net.layers), [0.0] * len(net.layers)
    begin = time.perf_counter()
    for n in range(iterations):
        start = time.perf_counter()
        passes(net.run_forward, indices, forward)
        passes(net.run_backward, reversed(indices), backward)
        log(
            "caffe.cpp:394",
            f"Iteration: {n + 1} forward-backward time: {int(1000 * (time.perf_counter() - start))} ms.",
        )
    total = time.perf_counter() - begin
    log("caffe.cpp:397", "Average time per layer: ")
    scale = 1000 / iterations
    for i, name in enumerate(net._layer_names):
        log("caffe.cpp:400", f"{name:>10}\tforward: {number(forward[i] * scale)} ms.")
        log("caffe.cpp:403", f"{name:>10}\tbackward: {number(backward[i] * scale)} ms.")
    log("caffe.cpp:408", f"Average Forward pass: {number(sum(forward) * scale)} ms.")
    log("caffe.cpp:410", f"Average Backward pass: {number(sum(backward) * scale)} ms.")
    log("caffe.cpp:412", f"Average Forward-Backward: {number(total * scale)} ms.")
    log("caffe.cpp:414", f"Total Time: {number(total * 1000)} ms.")
    log("caffe.cpp:415", "*** Benchmark ends ***")


def _device_query(flags):
    if not torch.cuda.is_available():
        raise CaffeError("No CUDA device: torch sees none here.")
    log("caffe.cpp:138", f"Querying GPUs {flags.gpu}")
    for device in _devices(flags.gpu or "0"):
        if not 0 <= device < torch.cuda.device_count():
            raise CaffeError(f"There is no GPU {device}; torch sees {torch.cuda.device_count()}.")
        p = torch.cuda.get_device_properties(device)
        log("common.cpp:178", f"Device id:                     {device}")
        log("common.cpp:179", f"Major revision number:         {p.major}")
        log("common.cpp:180", f"Minor revision number:         {p.minor}")
        log("common.cpp:181", f"Name:                          {p.name}")
        log("common.cpp:182", f"Total global memory:           {p.total_memory}")
        log("common.cpp:199", f"Number of multiprocessors:     {p.multi_processor_count}")


# command -> function, help, arguments
_COMMANDS: dict[str, tuple[Callable[..., int | None], str, str]] = {
    "train": (_train, "train or finetune a model", ""),
    "test": (_test, "score a model", ""),
    "device_query": (_device_query, "show GPU diagnostic information", ""),
    "time": (_time, "benchmark model execution time", ""),
    "convert_imageset": (
        tools.convert_imageset,
        "make a database of the images in a list",
        "ROOTFOLDER/ LISTFILE DB_NAME",
    ),
    "compute_image_mean": (
        tools.compute_image_mean,
        "compute the mean image of a database",
        "INPUT_DB [OUTPUT_FILE]",
    ),
    "convert_mnist_data": (tools.convert_mnist_data, "make a database of MNIST", "IMAGE_FILE LABEL_FILE DB_NAME"),
    "convert_mnist_siamese_data": (
        tools.convert_mnist_siamese_data,
        "make a LevelDB of pairs of MNIST's images",
        "IMAGE_FILE LABEL_FILE DB_NAME",
    ),
    "convert_cifar_data": (
        tools.convert_cifar_data,
        "make databases of CIFAR-10",
        "INPUT_FOLDER OUTPUT_FOLDER KIND",
    ),
    "extract_features": (
        tools.extract_features,
        "write what blobs of a net hold to databases",
        "WEIGHTS MODEL BLOB[,BLOB…] DB_NAME[,DB_NAME…] NUM_MINI_BATCHES DB_TYPE [CPU/GPU] [DEVICE_ID]",
    ),
    "upgrade_net_proto_text": (tools.upgrade_net_proto_text, "bring a net definition up to date", "IN OUT"),
    "upgrade_net_proto_binary": (tools.upgrade_net_proto_binary, "bring a .caffemodel up to date", "IN OUT"),
    "upgrade_solver_proto_text": (tools.upgrade_solver_proto_text, "bring a solver definition up to date", "IN OUT"),
}

# Entry points of the programs with these names.
(
    convert_imageset,
    compute_image_mean,
    convert_mnist_data,
    convert_mnist_siamese_data,
    convert_cifar_data,
    extract_features,
    upgrade_net_proto_text,
    upgrade_net_proto_binary,
    upgrade_solver_proto_text,
) = (functools.partial(main, tool=name) for name in list(_COMMANDS)[4:])

if __name__ == "__main__":
    sys.exit(main())
