"""The ``caffe`` command: train, test, time, device_query (tools/caffe.cpp), and two tools that make its data."""

import argparse
import contextlib
import signal
import sys
import time

import torch

from . import imageset, mode
from .errors import CaffeError
from .formats import read_net, read_solver
from .glog import log, number
from .net import Net
from .proto import caffe_pb2
from .solver import NONE, SNAPSHOT, STOP, Solver, complete_snapshot_prefix

_EFFECTS = {"none": NONE, "stop": STOP, "snapshot": SNAPSHOT}
_PHASES = {"TRAIN": caffe_pb2.TRAIN, "TEST": caffe_pb2.TEST}


def _parser():
    parser = argparse.ArgumentParser(prog="caffe", description="Train, test and time networks as BVLC Caffe does.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name, run, text):
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    def flag(sub, name, **options):
        sub.add_argument(f"-{name}", f"--{name}", **options)

    train = command("train", _train, "train or fine-tune a model")
    flag(train, "solver", help="solver definition (prototxt)")
    flag(train, "snapshot", default="", help="solver state to resume from")
    flag(train, "weights", default="", help="comma-separated weights to fine-tune from")
    flag(train, "sigint_effect", choices=_EFFECTS, default="stop", help="what Ctrl-C and SIGTERM do (stop)")
    flag(train, "sighup_effect", choices=_EFFECTS, default="snapshot", help="what SIGHUP does (snapshot)")
    test = command("test", _test, "score a model")
    bench = command("time", _time, "benchmark model execution time")
    for sub in (test, bench):
        flag(sub, "model", help="net definition (prototxt)")
        flag(sub, "iterations", type=_count, default=50, help="how many batches (50)")
    flag(test, "weights", help="weights to score")
    for sub in (train, test, bench):
        flag(sub, "gpu", default="", help="device to run on; CPU without it")
        flag(sub, "level", type=int, default=0, help="level for include/exclude rules")
        flag(sub, "stage", default="", help="comma-separated stages for include/exclude rules")
        flag(sub, "phase", type=str.upper, choices=_PHASES, help="phase of the net (time)")
    query = command("device_query", _device_query, "show GPU diagnostic information")
    flag(query, "gpu", default="0", help="device, or all")
    convert = command("convert_imageset", _convert_imageset, "make an LMDB of a list's pictures")
    convert.add_argument("root", metavar="ROOTFOLDER/", help="put in front of every path of the list")
    convert.add_argument("list", metavar="LISTFILE", help="lines: path label")
    convert.add_argument("database", metavar="DB_NAME", help="folder to make")
    flag(convert, "gray", action="store_true", help="grey instead of BGR")
    flag(convert, "shuffle", action="store_true", help="mix the list first")
    flag(convert, "resize_height", type=_count, default=0, help="pixels (as they are)")
    flag(convert, "resize_width", type=_count, default=0, help="pixels (as they are)")
    flag(convert, "encoded", action="store_true", help="keep the pictures encoded")
    flag(convert, "encode_type", default="png", help="as what: png, jpg … (png)")
    mean = command("compute_image_mean", _compute_image_mean, "the mean image of an LMDB")
    mean.add_argument("database", metavar="INPUT_DB")
    mean.add_argument("output", metavar="OUTPUT_FILE", nargs="?", help=".binaryproto to write")
    return parser


def _count(text):
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"a number from 1 on, not '{text}'")
    return int(text)


def main(argv=None):
    """Run one command; the exit status: 0, 2 for what the user got wrong."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        return args.run(args) or 0
    except CaffeError as error:
        with contextlib.suppress(OSError):
            print(f"caffe {args.command}: error: {error}", file=sys.stderr)
        return 2


def _required(value, message):
    if not value:
        raise CaffeError(message)
    return value


def _devices(text):
    if text == "all":
        return list(range(torch.cuda.device_count()))
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise CaffeError(f"-gpu takes device numbers or 'all', not '{text}'.") from None


def _choose_device(gpu, where):
    devices = _devices(gpu)
    if len(devices) > 1:
        raise CaffeError("One training runs on one GPU here; start one process per GPU for several trainings.")
    if devices:
        log(where, f"Use GPU with device ID {devices[0]}")
        mode.set_device(devices[0])
        mode.set_mode_gpu()
    else:
        log(where, "Use CPU.")
        mode.set_mode_cpu()


def _stages(text):
    return [stage for stage in text.split(",") if stage]


def _train(args):
    path = _required(args.solver, "Need a solver definition to train (-solver).")
    if args.snapshot and args.weights:
        raise CaffeError("Give a snapshot to resume training or weights to finetune but not both.")
    param = read_solver(path)
    complete_snapshot_prefix(param, path)
    param.train_state.level = args.level
    param.train_state.stage.extend(_stages(args.stage))
    gpu = args.gpu
    if not gpu and param.HasField("solver_mode") and param.solver_mode == caffe_pb2.SolverParameter.GPU:
        gpu = str(param.device_id)
    _choose_device(gpu, "caffe.cpp:197")
    if args.weights:
        param.weights.append(args.weights)
    with _requests(args.sigint_effect, args.sighup_effect) as pending:
        solver = Solver(param)
        solver.action = lambda: pending.pop(0) if pending else NONE
        log("caffe.cpp:239", "Starting Optimization")
        if args.snapshot:
            log("caffe.cpp:242", f"Resuming from {args.snapshot}")
        solver.solve(args.snapshot or None)
        log("caffe.cpp:250", "Optimization Done.")


@contextlib.contextmanager
def _requests(interrupt, hangup):
    """What signals ask for while a block runs, oldest first.

    SIGTERM, which BVLC Caffe leaves to kill it, counts as SIGINT: it is how schedulers and containers say stop.
    """
    pending = []
    before = {}
    for name, effect in (("SIGINT", interrupt), ("SIGTERM", interrupt), ("SIGHUP", hangup)):
        kind = signal.Signals[name]
        before[kind] = signal.signal(kind, lambda *_, action=_EFFECTS[effect]: pending.append(action))
    try:
        yield pending
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _net(args, phase):
    param = read_net(_required(args.model, f"Need a model definition to {args.command} (-model)."))
    param.state.phase = phase
    param.state.level = args.level
    param.state.stage.extend(_stages(args.stage))
    return Net.from_param(param)


def _test(args):
    _required(args.model, "Need a model definition to score (-model).")
    weights = _required(args.weights, "Need model weights to score (-weights).")
    _choose_device(args.gpu, "caffe.cpp:275")
    net = _net(args, caffe_pb2.TEST)
    for path in weights.split(","):
        net.copy_from(path)
    log("caffe.cpp:281", f"Running for {args.iterations} iterations.")
    sums, loss = {}, 0.0
    with net.without_backward():
        for i in range(args.iterations):
            loss += float(net.run_forward())
            for name in net.outputs:
                for j, value in enumerate(net.blobs[name].tensor().reshape(-1).tolist()):
                    sums[name, j] = sums.get((name, j), 0.0) + value
                    log("caffe.cpp:304", f"Batch {i}, {name} = {number(value)}")
    log("caffe.cpp:309", f"Loss: {number(loss / args.iterations)}")
    for (name, _), total in sums.items():
        mean, weight = total / args.iterations, net.blob_loss_weights[name]
        shown = f" (* {number(weight)} = {number(weight * mean)} loss)" if weight else ""
        log("caffe.cpp:321", f"{name} = {number(mean)}{shown}")


def _time(args):
    _required(args.model, "Need a model definition to time (-model).")
    _choose_device(args.gpu, "caffe.cpp:343")
    net = _net(args, _PHASES[args.phase or "TRAIN"])
    wait = torch.cuda.synchronize if mode.is_gpu() else lambda: None
    log("caffe.cpp:351", "Performing Forward")
    log("caffe.cpp:356", f"Initial loss: {number(net.run_forward())}")
    log("caffe.cpp:357", "Performing Backward")
    net.run_backward()
    net.needless_backward = True
    log("caffe.cpp:365", "*** Benchmark begins ***")
    log("caffe.cpp:366", f"Testing for {args.iterations} iterations.")

    def passes(run, order, spent):
        for i in order:
            start = time.perf_counter()
            run(i, i)
            wait()
            spent[i] += time.perf_counter() - start

    indices = range(len(net.layers))
    forward, backward = [0.0] * len(net.layers), [0.0] * len(net.layers)
    begin = time.perf_counter()
    for n in range(args.iterations):
        start = time.perf_counter()
        passes(net.run_forward, indices, forward)
        passes(net.run_backward, reversed(indices), backward)
        log(
            "caffe.cpp:394",
            f"Iteration: {n + 1} forward-backward time: {int(1000 * (time.perf_counter() - start))} ms.",
        )
    total = time.perf_counter() - begin
    log("caffe.cpp:397", "Average time per layer: ")
    scale = 1000 / args.iterations
    for i, name in enumerate(net._layer_names):
        log("caffe.cpp:400", f"{name:>10}\tforward: {number(forward[i] * scale)} ms.")
        log("caffe.cpp:403", f"{name:>10}\tbackward: {number(backward[i] * scale)} ms.")
    log("caffe.cpp:408", f"Average Forward pass: {number(sum(forward) * scale)} ms.")
    log("caffe.cpp:410", f"Average Backward pass: {number(sum(backward) * scale)} ms.")
    log("caffe.cpp:412", f"Average Forward-Backward: {number(total * scale)} ms.")
    log("caffe.cpp:414", f"Total Time: {number(total * 1000)} ms.")
    log("caffe.cpp:415", "*** Benchmark ends ***")


def _device_query(args):
    if not torch.cuda.is_available():
        raise CaffeError("No CUDA device: torch sees none here.")
    log("caffe.cpp:138", f"Querying GPUs {args.gpu}")
    for device in _devices(args.gpu):
        if device >= torch.cuda.device_count():
            raise CaffeError(f"There is no GPU {device}; torch sees {torch.cuda.device_count()}.")
        p = torch.cuda.get_device_properties(device)
        log("common.cpp:177", f"Device id:                     {device}")
        log("common.cpp:178", f"Major revision number:         {p.major}")
        log("common.cpp:179", f"Minor revision number:         {p.minor}")
        log("common.cpp:180", f"Name:                          {p.name}")
        log("common.cpp:181", f"Total global memory:           {p.total_memory}")
        log("common.cpp:182", f"Number of multiprocessors:     {p.multi_processor_count}")


def _convert_imageset(args):
    if bool(args.resize_height) != bool(args.resize_width):
        raise CaffeError("Give both -resize_height and -resize_width, or neither.")
    imageset.convert_imageset(
        args.root,
        args.list,
        args.database,
        args.resize_height,
        args.resize_width,
        color=not args.gray,
        encoding=args.encode_type if args.encoded else None,
        shuffle=args.shuffle,
    )


def _compute_image_mean(args):
    imageset.compute_image_mean(args.database, args.output)


if __name__ == "__main__":
    sys.exit(main())
