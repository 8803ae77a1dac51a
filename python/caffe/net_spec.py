"""Write net definitions as Python: pycaffe's ``NetSpec``, ``layers as L`` and ``params as P``.

    n = caffe.NetSpec()
    n.data, n.label = L.ImageData(source="train.txt", batch_size=64, ntop=2)
    n.conv1 = L.Convolution(n.data, kernel_size=11, stride=4, num_output=96, weight_filler=dict(type="xavier"))
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.relu1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    n.to_proto()

``L`` has every layer type: the fields of a type are looked up in caffe.proto, where those of `Convolution` are in
ConvolutionParameter, so this module does not list layers.
"""

import functools
from collections import Counter

from .names import of_path
from .proto import caffe_pb2


def param_name_dict():
    """Layer type (`InnerProduct`) -> name of its parameters in LayerParameter, without `_param` (`inner_product`)."""
    return dict(_param_names(caffe_pb2.LayerParameter.DESCRIPTOR))


@functools.lru_cache(maxsize=1)
def _param_names(descriptor):
    return {
        field.message_type.name.removesuffix("Parameter"): field.name.removesuffix("_param")
        for field in descriptor.fields
        if field.message_type and field.name.endswith("_param")
    }


def to_proto(*tops):
    """The NetParameter of all layers that `tops` are computed by, each before the layers that use it.

    >>> data, label = layers.ImageData(source="train.txt", ntop=2)
    >>> score = layers.InnerProduct(data, num_output=2)
    >>> net = to_proto(layers.SoftmaxWithLoss(score, label))
    >>> for layer in net.layer:
    ...     print(layer.name, layer.bottom, layer.top)
    ImageData1 [] ['ImageData1', 'ImageData2']
    InnerProduct1 ['ImageData1'] ['InnerProduct1']
    SoftmaxWithLoss1 ['InnerProduct1', 'ImageData2'] ['SoftmaxWithLoss1']
    """
    return _generate(tops, {})


def _generate(tops, names):
    layers, autonames = {}, Counter()
    for top in tops:
        # a layer without tops is given itself
        getattr(top, "fn", top)._to_proto(layers, names, autonames)
    return caffe_pb2.NetParameter(layer=layers.values())


def assign_proto(proto, name, val):
    """Set a message's field to a Python value.

    A dict fills a message, a list or tuple a repeated field, and for a repeated field a single value is a list of one.
    Strings may be paths of any bytes from the operating system. Raises AttributeError for a field that `proto` does not
    have, TypeError or ValueError for a value of the wrong type.
    """
    if name not in proto.DESCRIPTOR.fields_by_name:
        raise AttributeError(f"{proto.DESCRIPTOR.name} has no field {name!r}")
    field, descriptor = getattr(proto, name), proto.DESCRIPTOR.fields_by_name[name]
    text = descriptor.type == descriptor.TYPE_STRING
    if hasattr(field, "extend"):
        items = val if isinstance(val, (list, tuple)) else [val]
        for item in items:
            if isinstance(item, dict):
                _assign_all(field.add(), item)
            else:
                field.append(of_path(item) if text else item)
    elif isinstance(val, dict):
        _assign_all(field, val)
    else:
        setattr(proto, name, of_path(val) if text else val)


def _assign_all(proto, values):
    for name, val in values.items():
        assign_proto(proto, name, val)


class Top:
    """One output blob of a Function: its `n`-th."""

    def __init__(self, fn, n):
        self.fn = fn
        self.n = n

    def to_proto(self):
        """The NetParameter of the layers this blob depends on."""
        return to_proto(self)


class Function:
    """A layer: its type, its bottoms and its parameters.

    Parameters
    ----------
    type_name : str
    inputs : sequence of Top
        Anything else raises TypeError.
    params : dict
        Fields of the type's parameter message or of LayerParameter, and `ntop`, the number of tops (default: 1), and
        `in_place`, whether the tops are the bottoms.
    """

    def __init__(self, type_name, inputs, params):
        for index, top in enumerate(inputs):
            if not isinstance(top, Top):
                raise TypeError(f"{type_name} input {index} is not a Top (type is {type(top)})")
        self.type_name = type_name
        self.inputs = inputs
        self.params = dict(params)
        self.ntop = self.params.pop("ntop", 1)
        self.in_place = self.params.pop("in_place", False)
        self.tops = tuple(Top(self, n) for n in range(self.ntop))

    def _name(self, named, names, autonames):
        """The name of a top or layer in `names`, to which its type and a running number are added if it has none."""
        if named not in names:
            autonames[self.type_name] += 1
            names[named] = f"{self.type_name}{autonames[self.type_name]}"
        return names[named]

    def _to_proto(self, layers, names, autonames):
        if self in layers:
            return
        bottoms = []
        for top in self.inputs:
            top.fn._to_proto(layers, names, autonames)
            bottoms.append(layers[top.fn].top[top.n])
        layer = caffe_pb2.LayerParameter(type=self.type_name, bottom=bottoms)
        layer.top.extend(bottoms if self.in_place else [self._name(top, names, autonames) for top in self.tops])
        # a layer has the name of its first top, even if it works in place and the blob has another name
        layer.name = self._name(self.tops[0] if self.tops else self, names, autonames)
        for name, val in self.params.items():
            try:
                assign_proto(self._message_with(layer, name), name, val)
            except (TypeError, ValueError) as error:
                kind = TypeError if isinstance(error, TypeError) else ValueError
                raise kind(f"{layer.type} layer {layer.name!r}, {name}={val!r}: {error}") from error
        layers[self] = layer

    def _message_with(self, layer, name):
        """The message that a parameter is a field of: the type's parameters if they have it, else the layer."""
        own = f"{_param_names(layer.DESCRIPTOR).get(self.type_name)}_param"
        fields = layer.DESCRIPTOR.fields_by_name
        # `param` and `..._param` messages are fields of the layer, whatever its type
        if not name.endswith("param") and own in fields and name in fields[own].message_type.fields_by_name:
            return getattr(layer, own)
        if name not in fields:
            raise AttributeError(f"{self.type_name} layer {layer.name!r} has no parameter {name!r}")
        return layer


class NetSpec:
    """A net under construction: setting a Top as an attribute or item gives the blob and its layer that name.

    Tops are set, read and deleted as attributes (`n.conv1`) or items (`n["conv1"]`). Layers are in the order in which
    their names were first set.
    """

    def __init__(self):
        super().__setattr__("tops", {})

    def __setattr__(self, name, value):
        self.tops[name] = value

    def __getattr__(self, name):
        try:
            return self.__dict__["tops"][name]
        except KeyError:
            raise AttributeError(f"the net has no blob {name!r}") from None

    def __delattr__(self, name):
        del self[name]

    def __setitem__(self, name, value):
        self.tops[name] = value

    def __getitem__(self, name):
        return self.tops[name]

    def __delitem__(self, name):
        del self.tops[name]

    def keys(self):
        """Names in the order they were set."""
        return list(self.tops)

    def vals(self):
        """Tops in the order they were set."""
        return list(self.tops.values())

    def update(self, other):
        """Set all tops of a dict, such as another NetSpec's `tops`."""
        self.tops.update(other)

    def to_proto(self):
        """The NetParameter of all layers set here and of the unnamed ones that they depend on."""
        return _generate(self.tops.values(), {top: of_path(name) for name, top in self.tops.items()})


class Layers:
    """`L.Type(*bottoms, **params)` makes a layer: its Top, a tuple of several, or with `ntop=0` its Function."""

    def __getattr__(self, name):
        def layer_fn(*args, **kwargs):
            fn = Function(name, args, kwargs)
            if fn.ntop == 0:
                return fn
            return fn.tops[0] if fn.ntop == 1 else fn.tops

        return layer_fn


class _Enumerations:
    """The enumeration values nested in one message of caffe.proto."""

    def __init__(self, message):
        self._message = message

    def __getattr__(self, name):
        return getattr(self._message, name)


class Parameters:
    """`P.Pooling.MAX` is the value MAX of PoolingParameter."""

    def __getattr__(self, name):
        try:
            return _Enumerations(getattr(caffe_pb2, name + "Parameter"))
        except AttributeError:
            raise AttributeError(f"there is no {name}Parameter") from None


layers = Layers()
params = Parameters()
