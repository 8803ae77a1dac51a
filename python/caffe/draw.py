"""Drawings of definitions, as pycaffe's ``caffe.draw`` makes them: layers are boxes, blobs octagons.

Requires pydot, an extra. Rendering, but not `get_pydot_graph`, requires Graphviz's program ``dot`` too.
"""

import os
import re

from .errors import AbsentError, CaffeError
from .formats import write_whole
from .proto import caffe_pb2

try:
    import pydot
except ImportError:
    raise AbsentError("caffe.draw requires pydot, which is not installed: pip install pydot.") from None

_BLOB: dict = {"shape": "octagon", "style": "filled", "fillcolor": "#E0E0E0"}
_IN_PLACE = "#90EE90"
_COLOURS = {"Convolution": "#FF5050", "Deconvolution": "#FF5050", "Pooling": "#FF9900", "InnerProduct": "#CC33FF"}
_OTHER = "#6495ED"
_LEARNS = "Convolution", "Deconvolution", "InnerProduct"


def get_layer_label(layer, rankdir, display_lrm=False):
    """The text in a layer's box: name, type, and for windows their size; parts are separated for the direction."""
    separator = " " if rankdir in ("TB", "BT") else r"\n"
    kind, parts = layer.type, [re.sub(r"[{}|<>\\]", r"\\\g<0>", layer.name)]
    if kind == "Pooling":
        p = layer.pooling_param
        parts.append(f"(Pooling {caffe_pb2.PoolingParameter.PoolMethod.Name(p.pool)})")
        window = p.kernel_size, p.stride, p.pad
    else:
        parts.append(f"({kind})")
        c = layer.convolution_param
        window = (*c.kernel_size, 1)[0], (*c.stride, 1)[0], (*c.pad, 0)[0]
    if kind in ("Pooling", "Convolution", "Deconvolution"):
        parts += [f"{name}: {number}" for name, number in zip(("kernel size", "stride", "pad"), window)]
    if display_lrm and kind in _LEARNS:
        rates = [spec.lr_mult for spec in layer.param[:2]] + [1.0, 1.0]
        if any(rates[:2]):
            parts.append(f"lr mult: {rates[0]:.1f}, {rates[1]:.1f}")
    return separator.join(parts)


def get_edge_label(layer):
    """The text on the arrows from a layer: the batch size, or the number of outputs."""
    if layer.type == "Data":
        return f"Batch {layer.data_param.batch_size}"
    if layer.type in ("Convolution", "Deconvolution"):
        return str(layer.convolution_param.num_output)
    return str(layer.inner_product_param.num_output) if layer.type == "InnerProduct" else ""


def get_pydot_graph(caffe_net, rankdir, label_edges=True, phase=None, display_lrm=False):
    """The graph of a definition.

    Parameters
    ----------
    caffe_net : NetParameter
    rankdir : str
        Direction: ``LR``, ``RL``, ``TB`` or ``BT``.
    label_edges : bool
        Whether arrows show `get_edge_label`.
    phase : optional
        ``caffe.TRAIN`` or ``caffe.TEST``: leave out the layers of the other; None draws all.
    display_lrm : bool
        Whether layers that learn show their learning rates' multipliers.

    Returns
    -------
    pydot.Dot
    """
    graph = pydot.Dot(_quoted(caffe_net.name or "Net"), graph_type="digraph", rankdir=rankdir)
    nodes, edges = {}, []
    for i, layer in enumerate(caffe_net.layer):
        if phase is not None and not _is_in(layer, phase):
            continue
        in_place = len(layer.bottom) == 1 and list(layer.bottom) == list(layer.top)
        colour = _IN_PLACE if in_place else _COLOURS.get(layer.type, _OTHER)
        label = _quoted(get_layer_label(layer, rankdir, display_lrm), newlines=True)
        nodes["layer", i] = pydot.Node(f"layer_{i}", label=label, shape="record", style="filled", fillcolor=colour)
        for blob in (*layer.bottom, *layer.top):
            nodes["blob", blob] = pydot.Node(_quoted(f"{blob}_blob"), label=_quoted(blob), **_BLOB)
        edges += [(("blob", blob), ("layer", i), "") for blob in layer.bottom]
        edges += [(("layer", i), ("blob", blob), get_edge_label(layer) if label_edges else "") for blob in layer.top]
    for node in nodes.values():
        graph.add_node(node)
    for source, target, text in edges:
        graph.add_edge(pydot.Edge(nodes[source], nodes[target], label=_quoted(text)))
    return graph


def draw_net(caffe_net, rankdir, ext="png", phase=None, display_lrm=False):
    """The bytes of a drawing in a format of Graphviz: ``png``, ``pdf``, ``svg``, or ``raw``, its input.

    Other parameters are those of `get_pydot_graph`. Raises CaffeError where ``dot`` is not installed or fails.
    """
    graph = get_pydot_graph(caffe_net, rankdir, phase=phase, display_lrm=display_lrm)
    if ext == "raw":
        return graph.to_string().encode()
    try:
        return graph.create(format=ext)
    except FileNotFoundError:
        raise CaffeError(
            "Drawing requires Graphviz's program dot, which is not installed: apt install graphviz, or write a .raw "
            "file and render it elsewhere."
        ) from None
    except (AssertionError, OSError) as error:
        raise CaffeError(f"dot could not draw the net as '{ext}': {error}.") from None


def draw_net_to_file(caffe_net, filename, rankdir="LR", phase=None, display_lrm=False):
    """Write a drawing in the format of the file's extension, as `draw_net` makes it; completely or not at all."""
    name = os.fspath(filename)
    write_whole(name, draw_net(caffe_net, rankdir, name.rpartition(".")[2], phase, display_lrm))


def _is_in(layer, phase):
    """Whether a layer belongs to a phase, by the phases of its rules alone."""
    if layer.include and layer.exclude:
        raise CaffeError(f"Layer '{layer.name}' has both include and exclude rules; keep one kind.")
    if layer.include:
        return any(rule.phase == phase for rule in layer.include)
    return not any(rule.HasField("phase") and rule.phase == phase for rule in layer.exclude)


def _quoted(text, newlines=False):
    r"""A string of Graphviz's language; ``\n`` is kept where it stands for a new line."""
    text = text if newlines else text.replace("\\", "\\\\")
    return '"' + text.replace('"', r"\"") + '"'
