"""A solver's definition, and the nets it names (solver.cpp, upgrade_proto.cpp)."""

import os

from ..errors import CaffeError
from ..formats import read_net, read_solver
from ..formats.upgrade import upgrade_net
from ..names import for_os, of_path
from ..nets.net import Net
from ..proto import caffe_pb2
from ..runtime.glog import log


def solver_definition(solver):
    """The SolverParameter in a file, its snapshot prefix completed; a SolverParameter itself is returned as it is."""
    if isinstance(solver, caffe_pb2.SolverParameter):
        return solver
    param = read_solver(os.fspath(solver))
    complete_snapshot_prefix(param, os.fspath(solver))
    return param


def complete_snapshot_prefix(param, solver_file):
    """Derive a missing prefix from the solver's file name, and one that is a folder from both."""
    stem = of_path(os.path.splitext(solver_file)[0])
    if not param.HasField("snapshot_prefix"):
        param.snapshot_prefix = stem
        log("upgrade_proto.cpp:1108", f"snapshot_prefix was not specified and is set to {stem}")
    elif os.path.isdir(for_os(param.snapshot_prefix)):
        param.snapshot_prefix = os.path.join(param.snapshot_prefix, os.path.basename(stem))
        log("upgrade_proto.cpp:1113", f"snapshot_prefix was a directory and is replaced to {param.snapshot_prefix}")


def check_snapshot_prefix(param):
    """Raise CaffeError unless snapshots can be written."""
    folder = os.path.dirname(for_os(param.snapshot_prefix)) or "."
    if not (os.path.isdir(folder) and os.access(folder, os.W_OK)):
        raise CaffeError(
            f"Cannot write to snapshot prefix '{param.snapshot_prefix}'.  "
            "Make sure that the directory exists and is writable."
        )


def train_net(param):
    """The training net of a SolverParameter, with the weights that it names."""
    given = [field for field in ("net_param", "net", "train_net_param", "train_net") if param.HasField(field)]
    if len(given) != 1:
        raise CaffeError(
            "SolverParameter must specify a train net using exactly one of these fields: "
            f"net, net_param, train_net, train_net_param (given: {', '.join(given) or 'none'})"
        )
    field = given[0]
    line = {"train_net_param": 88, "train_net": 92, "net_param": 97, "net": 102}[field]
    source = f"specified in {field}." if field.endswith("param") else f"from {field} file: {getattr(param, field)}"
    log(f"solver.cpp:{line}", f"Creating training net {source}")
    return _net(param, _net_definition(getattr(param, field), field), caffe_pb2.TRAIN, param.train_state)


def test_nets(param):
    """The list of test nets of a SolverParameter, with the weights that it names."""
    generic = [field for field in ("net_param", "net") if param.HasField(field)]
    if len(generic) > 1:
        raise CaffeError("Both net_param and net may not be specified.")
    sources = [("test_net_param", value) for value in param.test_net_param]
    sources += [("test_net", value) for value in param.test_net]
    if len(param.test_iter) < len(sources) or (not generic and len(param.test_iter) != len(sources)):
        raise CaffeError("test_iter must be specified for each test network.")
    for field in generic:
        sources += [(field, getattr(param, field))] * (len(param.test_iter) - len(sources))
    if param.test_state and len(param.test_state) != len(sources):
        raise CaffeError("test_state must be unspecified or specified once per test net.")
    if sources and param.test_interval < 1:
        raise CaffeError("test_interval must be positive where there are test nets.")
    nets = []
    definitions = [_net_definition(value, field) for field, value in sources]  # all are read before a net is made
    for i, ((field, value), definition) in enumerate(zip(sources, definitions)):
        file = "" if field.endswith("param") else f" file: {value}"
        log("solver.cpp:190", f"Creating test net (#{i}) specified by {field}{file}")
        state = param.test_state[i] if param.test_state else caffe_pb2.NetState()
        nets.append(_net(param, definition, caffe_pb2.TEST, state))
        nets[-1].debug_info = param.debug_info
    return nets


def _net_definition(value, field):
    """The current NetParameter of a field, which holds a definition's path or a definition."""
    if not field.endswith("param"):
        return read_net(value)
    definition = caffe_pb2.NetParameter()
    definition.CopyFrom(value)
    upgrade_net(definition, f"the solver's {field}")
    return definition


def _net(param, definition, phase, state):
    """A net in a phase, whose state is the definition's, changed by the solver's; weights are loaded."""
    merged = caffe_pb2.NetState(phase=phase)
    merged.MergeFrom(definition.state)
    merged.MergeFrom(state)
    definition.state.CopyFrom(merged)
    net = Net.from_param(definition)
    for names in param.weights:
        for path in map(str.strip, names.split(",")):
            log("solver.cpp:72", f"Finetuning from {path}")
            net.copy_from(path)
    return net
