"""What a file of weights is: its generation, its layers, and which of the architectures can start from it."""

import math
from dataclasses import dataclass
from pathlib import Path

from sentiment.networks import architectures
from sentiment.networks.receptive_field import Field, above
from sentiment.utils.errors import UserError

GENERATIONS = {
    "V0": "of 2013: layers inside layers, types in small letters",
    "V1": "of 2014: `layers` with numbered types",
    "current": "`layer` with types by name",
    "HDF5": "groups data/<layer>, without types or order",
}

# How files begin that are taken for weights, and what they are.
_BEGINNINGS = (
    (b"version https://git-lfs", "a Git LFS pointer; `git lfs pull` gets the file itself"),
    (b"PK\x03\x04", "a zip archive, or PyTorch's own format; unpack it, or look for the .caffemodel"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"BZh", "a bzip2 archive; unpack it"),
    (b"\xfd7zXZ", "an xz archive; unpack it"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!", "a rar archive; unpack it"),
    *((b"\x80" + bytes([version]), "a Python pickle") for version in (2, 3, 4, 5)),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG", "a PNG picture"),
    (b"<", "a web page, so the link led elsewhere; open it in a browser"),
)
_LARGEST = (1 << 31) - 1  # bytes of a protobuf message
_HDF5 = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Layer:
    """A layer of a file.

    Attributes
    ----------
    name : str
    type : str
        As the file writes it; HDF5 has none.
    shapes : tuple of tuple of int
        Of its blobs, as the file has them.
    """

    name: str
    type: str
    shapes: tuple = ()

    @property
    def outputs(self):
        """How many outputs a convolution or fully connected layer has."""
        weights, *bias = map(_plain, self.shapes)
        return math.prod(bias[0] if bias else weights[:1])

    @property
    def classifies(self):
        """Whether its outputs can be classes: it looks at one cell."""
        return math.prod(_plain(self.shapes[0])[2:]) == 1

    @property
    def parameters(self):
        """How many numbers it holds."""
        return sum(map(math.prod, self.shapes))


@dataclass(frozen=True)
class ModelFile:
    """A file of weights.

    Attributes
    ----------
    path : Path
    generation : str
        A key of ``GENERATIONS``.
    name : str
        The net's own; empty where the file has none.
    layers : tuple of Layer
    """

    path: Path
    generation: str
    name: str
    layers: tuple

    @property
    def learned(self):
        """The layers with weights."""
        return [layer for layer in self.layers if layer.shapes]

    @property
    def last(self):
        """The last layer with a matrix of weights; None in HDF5, which keeps no order, and where there is none."""
        matrices = [layer for layer in self.learned if len(layer.shapes[0]) > 1]
        return matrices[-1] if matrices and self.generation != "HDF5" else None

    @property
    def divisor(self):
        """By how much its channels are fewer than those of the networks in the paper, told from conv1."""
        first = next((layer for layer in self.learned if layer.name == "conv1"), None)
        outputs = first.outputs if first else 96
        return 96 // outputs if outputs and 96 % outputs == 0 else 1


def read(path):
    """What a file holds.

    Raises
    ------
    UserError
        It is no file of weights: says what it seems to be.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is {'a folder' if path.is_dir() else 'no plain file'}; give a file of weights")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if size > _LARGEST and not head.startswith(_HDF5):
        raise UserError(f"{path} is no .caffemodel: it has {size:,} bytes, and none can have more than {_LARGEST:,}")
    model = _read_hdf5(path) if head.startswith(_HDF5) else _read_binary(path, head)
    if not model.learned:
        raise UserError(f"{path} is a net without weights: none of its {len(model.layers)} layers holds any")
    return model


def fits(model):
    """Which architectures can start from a file.

    Returns
    -------
    dict of str to str
        ARCH -> why it cannot; empty where it can.
    """
    # SqueezeNet is trained at its full width alone.
    return {
        arch: misfit(model, arch, 1 if arch == "squeezenet" else model.divisor) for arch in architectures.ARCHITECTURES
    }


def misfit(model, arch, divisor) -> str:
    """Why an architecture cannot start from a file; empty where it can.

    Parameters
    ----------
    model : ModelFile
    arch : str
    divisor : int
        By how much its channels are fewer than the paper's.
    """
    last = model.last and architectures.LastLayer(model.last.name, model.last.outputs)
    if arch in architectures.ON_LAST_LAYER:
        if last is None:
            return "it keeps the last layer, and this file does not tell which that is"
        if len(model.last.shapes) != 2:
            return f"it keeps the last layer, and {last.name} has no bias"
    try:
        expected = weight_shapes(architectures.deploy(arch, divisor, last))
    except UserError as error:
        return str(error)
    there = {layer.name: layer.shapes for layer in model.learned}
    *kept, _new = expected
    for name in kept:
        if name not in there:
            return f"there is no layer {name}"
        if [_plain(shape) for shape in there[name]] != [_plain(shape) for shape in expected[name]]:
            return f"{name} is {shapes_text(there[name])}, not {shapes_text(expected[name])}"
    return ""


def weight_shapes(net):
    """The shapes of each layer's blobs by a deploy definition of images, convolutions and fully connected layers.

    Parameters
    ----------
    net : NetParameter

    Returns
    -------
    dict of str to list of tuple of int
        In the definition's order.
    """
    fields, shapes = {}, {}
    for layer in net.layer:
        if layer.type == "Input":
            _, channels, *size = layer.input_param.shape[0].dim
            fields[layer.top[0]] = Field(channels, tuple(size))
            continue
        bottom = fields[layer.bottom[0]]
        if layer.type == "Convolution":
            param = layer.convolution_param
            kernel = param.kernel_size[0]
            shapes[layer.name] = [
                (param.num_output, bottom.channels // param.group, kernel, kernel),
                (param.num_output,),
            ]
        elif layer.type == "InnerProduct":
            outputs = layer.inner_product_param.num_output
            shapes[layer.name] = [(outputs, bottom.channels * math.prod(bottom.size)), (outputs,)]
        top = above(layer, [fields[blob] for blob in layer.bottom])
        fields.update(dict.fromkeys(layer.top, top))
    return shapes


def shapes_text(shapes):
    """Shapes for people: ``96×3×11×11 and 96``."""
    return " and ".join("×".join(map(str, _plain(shape))) for shape in shapes)


def _plain(shape):
    """A shape without the leading ones that older generations fill four axes with."""
    shape = list(shape)
    while len(shape) > 1 and shape[0] == 1:
        del shape[0]
    return tuple(shape)


def _read_binary(path, head):
    from google.protobuf.message import DecodeError

    from caffe.proto import caffe_pb2

    try:
        net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    except DecodeError:
        net = caffe_pb2.NetParameter()
    title = _plain_text(net.name)
    if net.layer:
        return ModelFile(path, "current", title, tuple(_layer(path, layer, layer.type) for layer in net.layer))
    if net.layers:
        if any(layer.HasField("layer") for layer in net.layers):
            inner = [outer.layer for outer in net.layers]
            return ModelFile(path, "V0", title, tuple(_layer(path, layer, layer.type) for layer in inner))
        names = caffe_pb2.V1LayerParameter.LayerType.Name
        return ModelFile(path, "V1", title, tuple(_layer(path, layer, names(layer.type)) for layer in net.layers))
    raise UserError(f"{path} is no .caffemodel: {_instead(path, head, caffe_pb2)}")


def _layer(path, layer, type_):
    name = _plain_text(layer.name)
    for blob in layer.blobs:
        shape, there = _shape(blob), len(blob.data) or len(blob.double_data)
        if min(shape, default=1) < 0 or math.prod(shape) != there:
            shown = "×".join(map(str, shape))
            raise UserError(
                f"{path} is no whole .caffemodel: layer {name} has {there:,} numbers for a shape of {shown}"
            )
    return Layer(name, _plain_text(type_), tuple(map(_shape, layer.blobs)))


def _shape(blob):
    if blob.HasField("shape"):
        return tuple(blob.shape.dim)
    return blob.num, blob.channels, blob.height, blob.width


def _plain_text(name):
    """A name from a file, fit for a terminal."""
    text = name if isinstance(name, str) else bytes(name).decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _instead(path, head, caffe_pb2):
    """What a file is that holds no net."""
    from google.protobuf.message import DecodeError

    if not head:
        return "it is empty"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for beginning, words in _BEGINNINGS:
        if start.startswith(beginning):
            return f"it is {words}"
    if head[257:262] == b"ustar":
        return "it is a tar archive; unpack it"
    if b"\0" not in head and _is_text(head):
        return "it is a text, as definitions (.prototxt) are" if b"layer" in head else "it is a text"
    others = ("SolverState", "history", "a solver state"), ("BlobProto", "data", "a mean image, for MEAN=")
    for message, field, words in others:
        try:
            if len(getattr(getattr(caffe_pb2, message).FromString(path.read_bytes()), field)):
                return f"it is {words}"
        except DecodeError:
            pass
    return f"it is {'cut short' if _is_cut(path) else 'damaged or of another program'}; copy or download it again"


def _is_cut(path):
    """Whether a protobuf message is whole up to its last field, which goes on beyond the file's end."""
    data = memoryview(path.read_bytes())
    place, fields = 0, 0
    while place < len(data):
        key, place = _varint(data, place)
        if key is None or key & 7 not in (0, 1, 2, 5) or not 0 < key >> 3 < 1000:
            return key is None and fields > 0
        if key & 7 == 2:
            length, place = _varint(data, place)
        elif key & 7 == 0:
            length, place = 0, _varint(data, place)[1]
        else:
            length = 8 if key & 7 == 1 else 4
        if length is None or place + length > len(data):
            return fields > 0 or (length or 0) < _LARGEST
        place, fields = place + length, fields + 1
    return False


def _varint(data, place):
    """A number of seven bits a byte, None where it does not end; and the place after it."""
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            return None, place
        byte = data[place]
        value, place = value | (byte & 127) << shift, place + 1
        if byte < 128:
            return value, place
    return None, place


def _is_text(head):
    """Whether a file's beginning reads as UTF-8; its last character may be cut."""
    return not head.decode(errors="replace").rstrip("\ufffd").count("\ufffd")


def _read_hdf5(path):
    import h5py

    try:
        with h5py.File(path) as file:
            if not isinstance(file.get("data"), h5py.Group):
                words = "a solver state" if "history" in file else "HDF5 without a group data"
                raise UserError(f"{path} holds no Caffe weights: it is {words}")
            layers = tuple(
                Layer(_plain_text(name), "", tuple(tuple(group[index].shape) for index in sorted(group, key=int)))
                for name, group in file["data"].items()
            )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is no whole HDF5 file of Caffe weights ({error})") from error
    return ModelFile(path, "HDF5", "", layers)
