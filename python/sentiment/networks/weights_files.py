"""Files of weights: their generation, their layers, and which of the architectures can start from them."""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

from sentiment.networks import definitions
from sentiment.networks.architectures import ARCHITECTURES, LastLayer, deploy
from sentiment.utils.errors import UserError

GENERATIONS = {
    "V0": "of 2013: layers inside layers, types in small letters",
    "V1": "of 2014: `layers` with numbered types",
    "current": "`layer` with types by name",
    "HDF5": "groups data/<layer>, without types or order",
}

_HDF5 = b"\x89HDF\r\n\x1a\n"
_LARGEST = (1 << 31) - 1  # bytes of a protobuf message
_MISTAKEN = {  # what may be mistaken for weights -> its possible first bytes
    "a Git LFS pointer; `git lfs pull` gets the file itself": (b"version https://git-lfs",),
    "a zip archive (unpack it), or PyTorch's own format (name it .pth)": (b"PK\x03\x04",),
    "a compressed archive; unpack it": (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!"),
    "a Python pickle": (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
    "a JPEG or PNG image": (b"\xff\xd8\xff", b"\x89PNG"),
    "a web page, so the link led elsewhere; open it in a browser": (b"<",),
}


@dataclass(frozen=True)
class Layer:
    """A layer in a file of weights."""

    name: str
    type: str  # as the file writes it; empty in HDF5
    shapes: tuple[tuple[int, ...], ...] = ()  # of its blobs, as in the file

    @property
    def outputs(self) -> int:
        """The number of outputs of a convolution or fully connected layer."""
        weights, *bias = map(_plain, self.shapes)
        return math.prod(bias[0]) if bias else weights[0]

    @property
    def parameters(self) -> int:
        """The number of its weights and biases."""
        return sum(map(math.prod, self.shapes))


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights."""

    path: Path
    generation: str  # a key of GENERATIONS
    name: str  # the net's name; empty if the file has none
    layers: tuple[Layer, ...]

    @property
    def learned(self) -> list[Layer]:
        """The layers with weights."""
        return [layer for layer in self.layers if layer.shapes]

    @property
    def last(self) -> Layer | None:
        """The last layer with a matrix of weights; None in HDF5, which keeps no order, and where there is none."""
        matrices = [layer for layer in self.learned if len(layer.shapes[0]) > 1]
        return matrices[-1] if matrices and self.generation != "HDF5" else None

    @property
    def divisor(self) -> int:
        """CaffeNet's number of channels divided by this net's, taken from conv1; 1 if that is not a whole number."""
        outputs = next((layer.outputs for layer in self.learned if layer.name == "conv1"), 96)
        return 96 // outputs if outputs and 96 % outputs == 0 else 1


def read(path: str | Path) -> WeightsFile:
    """Read a file's layers, of any generation; a `UserError` says what a file without weights seems to be."""
    path = Path(path)
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is {'a folder' if path.is_dir() else 'not a regular file'}; give a file of weights")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    if head.startswith(_HDF5):
        found = _read_hdf5(path)
    elif size > _LARGEST:
        raise UserError(f"{path} is not a .caffemodel: it has {size:,} bytes, more than the {_LARGEST:,} possible")
    else:
        found = _read_protobuf(path, head)
    if not found.learned:
        raise UserError(f"{path} is a net without weights: none of its {len(found.layers)} layers has any")
    return found


def last_layer(path: str | Path) -> LastLayer:
    """A source model's own last layer, as in its file; a `UserError` if it cannot be kept below a new one."""
    found = read(path)
    try:
        return _kept(found)
    except UserError as problem:
        raise UserError(f"{path}: {problem}; it cannot be kept") from problem


def _kept(found) -> LastLayer:
    """The last layer of a `WeightsFile`; a `UserError` if it cannot be kept below a new one."""
    if found.last is None:
        raise UserError("the file does not say which layer is the last (HDF5 keeps no order)")
    if len(found.last.shapes) != 2:
        raise UserError(f"its last layer {found.last.name} is not fully connected with a bias")
    return LastLayer(found.last.name, found.last.outputs)


def fits(found: WeightsFile) -> dict[str, str]:
    """For each architecture, why it cannot start from a `WeightsFile`; empty where it can."""
    return {
        name: misfit(found, name, architecture.divisor(found.divisor)) for name, architecture in ARCHITECTURES.items()
    }


def misfit(found: WeightsFile, arch: str, divisor: int) -> str:
    """Why an architecture with 1/``divisor`` of the paper's channels cannot start from a file; empty where it can."""
    architecture = ARCHITECTURES[arch]
    try:
        last = _kept(found) if architecture.keeps_last else None
        expected = definitions.weight_shapes(deploy(arch, divisor, last))
    except UserError as problem:
        return str(problem)
    del expected[architecture.new_layer]
    there = {layer.name: layer.shapes for layer in found.learned}
    for name, shapes in expected.items():
        if name not in there:
            return f"there is no layer {name}"
        if list(map(_plain, there[name])) != list(map(_plain, shapes)):
            return f"{name} is {shapes_text(there[name])}, not {shapes_text(shapes)}"
    return ""


def shapes_text(shapes) -> str:
    """Shapes as text: ``96×3×11×11 and 96``."""
    return " and ".join("×".join(map(str, _plain(shape))) for shape in shapes)


def _plain(shape):
    """A shape without its leading ones, which older generations add to have four axes."""
    shape = tuple(shape)
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _read_protobuf(path, head):
    from google.protobuf.message import DecodeError

    from caffe.proto import caffe_pb2

    try:
        net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    except DecodeError:
        net = caffe_pb2.NetParameter()
    if net.layer:
        generation, layers = "current", [_layer(path, layer, layer.type) for layer in net.layer]
    elif any(layer.HasField("layer") for layer in net.layers):
        generation, layers = "V0", [_layer(path, outer.layer, outer.layer.type) for outer in net.layers]
    elif net.layers:
        names = caffe_pb2.V1LayerParameter.LayerType.Name
        generation, layers = "V1", [_layer(path, layer, names(layer.type)) for layer in net.layers]
    else:
        raise UserError(f"{path} is not a .caffemodel: it is {_content(path, head)}")
    return WeightsFile(path, generation, printable(net.name), tuple(layers))


def _layer(path, layer, type_):
    name, shapes = printable(layer.name), []
    for blob in layer.blobs:
        legacy = blob.num, blob.channels, blob.height, blob.width
        shape, there = blob.shape.dim if blob.HasField("shape") else legacy, len(blob.data) or len(blob.double_data)
        if min(shape, default=1) < 0 or math.prod(shape) != there:
            raise UserError(
                f"{path} is not a complete .caffemodel: layer {name} has {there:,} numbers for a shape of "
                + "×".join(map(str, shape))
            )
        shapes.append(tuple(shape))
    return Layer(name, printable(type_), tuple(shapes))


def printable(name):
    """A name from a file (bytes where it is not UTF-8), fit for a terminal."""
    text = name if isinstance(name, str) else bytes(name).decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _content(path, head):
    """What a file without a net is instead, judged by its first bytes or as another of Caffe's messages."""
    from google.protobuf.message import DecodeError

    from caffe.proto import caffe_pb2

    if not head:
        return "empty"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for content, beginnings in _MISTAKEN.items():
        if start.startswith(beginnings):
            return content
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it"
    if b"\0" not in head and "\ufffd" not in head.decode(errors="replace").rstrip("\ufffd"):
        return "a text file, like a definition (.prototxt)" if b"layer" in head else "a text file"
    for message, field, content in (
        (caffe_pb2.SolverState, "history", "a solver state"),
        (caffe_pb2.BlobProto, "data", "a mean image, for MEAN="),
    ):
        with contextlib.suppress(DecodeError):
            if len(getattr(message.FromString(path.read_bytes()), field)):
                return content
    return "incomplete, damaged or written by another program; copy or download it again"


def _read_hdf5(path):
    import h5py

    try:
        with h5py.File(path) as file:
            if not isinstance(file.get("data"), h5py.Group):
                content = "a solver state" if "history" in file else "HDF5 without a group data"
                raise UserError(f"{path} is not a file of weights: it is {content}")
            layers = tuple(
                Layer(printable(name), "", tuple(tuple(group[index].shape) for index in sorted(group, key=int)))
                for name, group in file["data"].items()
            )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UserError(f"{path} is not a complete HDF5 file of Caffe weights ({error})") from error
    return WeightsFile(path, "HDF5", "", layers)
