"""Changes to a definition before a net is built: filtering and Split layers (net.cpp, insert_splits.cpp)."""

from ..errors import CaffeError
from ..proto import caffe_pb2
from ..runtime.glog import log


def filter_net(param):
    """The definition without the layers that their include/exclude rules and its ``state`` leave out."""
    out = caffe_pb2.NetParameter()
    out.CopyFrom(param)
    del out.layer[:]
    for layer in param.layer:
        if layer.include and layer.exclude:
            raise CaffeError(f"Specify either include rules or exclude rules; not both (layer '{layer.name}').")
        if layer.include:
            kept = any(_meets(param.state, rule, layer.name) for rule in layer.include)
        else:
            kept = not any(_meets(param.state, rule, layer.name) for rule in layer.exclude)
        if kept:
            out.layer.add().CopyFrom(layer)
    return out


def _meets(state, rule, name):
    def no(text):
        log("net.cpp:296", f"The NetState {text} specified by a rule in layer {name}")
        return False

    if rule.HasField("phase") and rule.phase != state.phase:
        return no(f"phase ({state.phase}) differed from the phase ({rule.phase})")
    if rule.HasField("min_level") and state.level < rule.min_level:
        return no(f"level ({state.level}) is above the min_level ({rule.min_level})")
    if rule.HasField("max_level") and state.level > rule.max_level:
        return no(f"level ({state.level}) is above the max_level ({rule.max_level})")
    for stage in rule.stage:
        if stage not in state.stage:
            return no(f"did not contain stage '{stage}'")
    for stage in rule.not_stage:
        if stage in state.stage:
            return no(f"contained a not_stage '{stage}'")
    return True


def insert_splits(param):
    """The definition with a Split layer after every blob that is used more than once.

    A use is a bottom of a later layer, or a non-zero explicit ``loss_weight``, which moves to the Split's first top.
    In-place versions of a blob are counted separately. Raises CaffeError for a bottom that is not an earlier top.
    """
    producer = {}  # blob name -> (layer index, top index) of the last layer that has it as a top
    source = {}  # (layer index, bottom index) -> its producer
    uses = {}
    weights = {}
    for i, layer in enumerate(param.layer):
        for j, name in enumerate(layer.bottom):
            if name not in producer:
                raise CaffeError(f"Unknown bottom blob '{name}' (layer '{layer.name}', bottom index {j})")
            source[i, j] = producer[name]
            uses[producer[name]] = uses.get(producer[name], 0) + 1
        for j, name in enumerate(layer.top):
            producer[name] = (i, j)
        for name, weight in zip(layer.top, layer.loss_weight):
            weights[producer[name]] = weight
            if weight:
                uses[producer[name]] = uses.get(producer[name], 0) + 1

    out = caffe_pb2.NetParameter()
    out.CopyFrom(param)
    del out.layer[:]
    taken = {}
    for i, original in enumerate(param.layer):
        layer = out.layer.add()
        layer.CopyFrom(original)
        for j, name in enumerate(original.bottom):
            top = source[i, j]
            if uses[top] > 1:
                layer.bottom[j] = f"{_split_name(param, top, name)}_{taken.get(top, 0)}"
                taken[top] = taken.get(top, 0) + 1
        for j, name in enumerate(original.top):
            count = uses.get((i, j), 0)
            if count < 2:
                continue
            split = out.layer.add(name=_split_name(param, (i, j), name), type="Split", bottom=[name])
            split.top.extend(f"{split.name}_{k}" for k in range(count))
            weight = weights.get((i, j), 0)
            if weight:
                layer.ClearField("loss_weight")
                split.loss_weight.extend([weight] + [0] * (count - 1))
                taken[i, j] = 1
    return out


def _split_name(param, top, blob):
    layer, index = top
    return f"{blob}_{param.layer[layer].name}_{index}_split"
