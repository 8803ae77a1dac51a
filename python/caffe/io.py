"""Images, protobuf messages and net inputs as arrays: pycaffe's ``caffe.io``.

Images are ``(H, W, K)`` float32 in [0, 1], channels RGB. ``resize_image`` gives the results of pycaffe with the
scikit-image of 2015, without scikit-image; tests check it against images resized by BVLC Caffe.
"""

import http.client
import importlib
import os
import re
import urllib.request
from typing import Literal

import numpy as np

from .data.images import decode
from .errors import CaffeError, shape_text
from .proto import caffe_pb2

LEGACY_DIMENSIONS = ("num", "channels", "height", "width")
LUMINANCE_RGB = (0.2125, 0.7154, 0.0721)  # as in scikit-image's rgb2gray; OpenCV's weights differ

_URL = re.compile("(https?|ftp|file)://", re.IGNORECASE)
_SECONDS = 60  # timeout of a download
_ORIENTATION = 274  # number of TIFF's orientation tag
_MAX_BYTES = 2**28  # of a download


def __getattr__(name):
    """Import ``zoom`` or ``skimage`` on first use: pycaffe's io imports them, and scripts use them from there."""
    if name == "zoom":
        return importlib.import_module("scipy.ndimage").zoom
    if name != "skimage":
        raise AttributeError(f"module 'caffe.io' has no attribute '{name}'")
    try:
        importlib.import_module("skimage.io")
        importlib.import_module("skimage.transform")
    except ImportError as error:
        raise AttributeError(f"caffe.io.skimage requires scikit-image: pip install scikit-image ({error}).") from None
    return importlib.import_module("skimage")


def blobproto_to_array(blob, return_diff=False):
    """The values of a BlobProto, or with `return_diff` its gradients, in its own shape, as float64.

    A blob that names any of the legacy num, channels, height, width is four-dimensional. Raises ValueError when the
    number of values does not fill the shape; a blob without a shape is a scalar.
    """
    values = np.array(blob.diff if return_diff else blob.data, np.float64)
    if any(blob.HasField(name) for name in LEGACY_DIMENSIONS):
        return values.reshape([getattr(blob, name) for name in LEGACY_DIMENSIONS])
    return values.reshape(tuple(blob.shape.dim))


def array_to_blobproto(arr, diff=None):
    """A BlobProto of any array; `diff`, of the same shape, becomes its gradients.

    >>> blobproto_to_array(array_to_blobproto(np.array([[1, 2], [3, 4]])))
    array([[1., 2.],
           [3., 4.]])
    """
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).flat)
    if diff is not None:
        blob.diff.extend(diff.astype(float).flat)
    return blob


def arraylist_to_blobprotovector_str(arraylist):
    """The bytes of a BlobProtoVector that holds the arrays in order."""
    return caffe_pb2.BlobProtoVector(blobs=map(array_to_blobproto, arraylist)).SerializeToString()


#: The spelling in older versions of pycaffe.
arraylist_to_blobprotovecor_str = arraylist_to_blobprotovector_str


def blobprotovector_str_to_arraylist(str):
    """The arrays in the bytes of a BlobProtoVector."""
    return [blobproto_to_array(blob) for blob in caffe_pb2.BlobProtoVector.FromString(str).blobs]


def array_to_datum(arr, label=None):
    """A Datum of a (K, H, W) array: uint8 is kept as bytes, everything else as float_data.

    Raises ValueError when `arr` is not three-dimensional.
    """
    if arr.ndim != 3:
        raise ValueError("Incorrect array shape.")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).flat)
    if label is not None:
        datum.label = label
    return datum


def datum_to_array(datum):
    """The (K, H, W) array of a Datum: uint8 if it holds raw bytes, else float. The label is `datum.label`."""
    values = np.frombuffer(datum.data, np.uint8).copy() if datum.data else np.array(datum.float_data, float)
    return values.reshape(datum.channels, datum.height, datum.width)


class Transformer:
    """Prepares images for the input blobs of a net.

    Parameters
    ----------
    inputs : dict
        Name of an input blob to its shape, (N, K, H, W).

    Every setter and both conversions raise an Exception if the name is not in `inputs`.
    """

    def __init__(self, inputs):
        self.inputs = inputs
        self.transpose = {}
        self.channel_swap = {}
        self.raw_scale = {}
        self.mean = {}
        self.input_scale = {}

    def _check_input(self, in_):
        if in_ not in self.inputs:
            raise Exception(f"{in_} is not one of the net inputs: {self.inputs}")

    def preprocess(self, in_, data):
        """The input blob for one image.

        The steps, each skipped unless it was set: resize to the blob's height and width, transpose, reorder channels,
        multiply by the raw scale, subtract the mean, multiply by the input scale.

        Parameters
        ----------
        in_ : str
            Name of the input blob.
        data : (H', W', K) ndarray
            Not changed (pycaffe scales a float32 image in place if no channel swap is set).

        Returns
        -------
        (K, H, W) float32 ndarray
        """
        self._check_input(in_)
        blob = data.astype(np.float32, copy=False)
        size = tuple(self.inputs[in_][2:])
        if blob.shape[:2] != size:
            blob = resize_image(blob, size)
        if self.transpose.get(in_) is not None:
            blob = blob.transpose(self.transpose[in_])
        if self.channel_swap.get(in_) is not None:
            blob = blob[self.channel_swap[in_], :, :]
        blob = blob.copy()
        # In place, so that a float64 mean or scale rounds to float32 after every step, as in pycaffe.
        if self.raw_scale.get(in_) is not None:
            blob *= self.raw_scale[in_]
        if self.mean.get(in_) is not None:
            blob -= self.mean[in_]
        if self.input_scale.get(in_) is not None:
            blob *= self.input_scale[in_]
        return blob

    def deprocess(self, in_, data):
        """The inverse of `preprocess` except for resizing: the image (H, W, K) of an input blob (K, H, W)."""
        self._check_input(in_)
        image = data.copy().squeeze()
        if self.input_scale.get(in_) is not None:
            image /= self.input_scale[in_]
        if self.mean.get(in_) is not None:
            image += self.mean[in_]
        if self.raw_scale.get(in_) is not None:
            image /= self.raw_scale[in_]
        if self.channel_swap.get(in_) is not None:
            image = image[np.argsort(self.channel_swap[in_]), :, :]
        if self.transpose.get(in_) is not None:
            image = image.transpose(np.argsort(self.transpose[in_]))
        return image

    def set_transpose(self, in_, order):
        """Set the order of the image's axes in the blob; (2, 0, 1) makes (H, W, K) images (K, H, W)."""
        self._check_input(in_)
        if len(order) != len(self.inputs[in_]) - 1:
            raise Exception("Transpose order needs to have the same number of dimensions as the input.")
        self.transpose[in_] = order

    def set_channel_swap(self, in_, order):
        """Set the order of the channels after transposing; (2, 1, 0) makes RGB the BGR of Caffe's models."""
        self._check_input(in_)
        if len(order) != self.inputs[in_][1]:
            raise Exception("Channel swap needs to have the same number of dimensions as the input channels.")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_, scale):
        """Set the factor applied before the mean; 255 makes [0, 1] images the [0, 255] of Caffe's models."""
        self._check_input(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_, mean):
        """Set the mean to subtract, in the blob's channel order and raw scale.

        Parameters
        ----------
        mean : (K,), (H, W) or (K, H, W) ndarray
            A value for each channel, or for each element. A mean image of K channels or one that has another height and
            width is resized to the input's by `resize_image`. Anything else raises ValueError.
        """
        self._check_input(in_)
        expected = tuple(self.inputs[in_][1:])
        if mean.ndim == 1:
            if mean.shape != expected[:1]:
                raise ValueError(f"Mean channels incompatible with input. There are {len(mean)}, not {expected[0]}.")
            mean = mean[:, np.newaxis, np.newaxis]
        elif mean.ndim not in (2, 3):
            raise ValueError("Mean shape invalid")
        elif (1, *mean.shape)[-3:] != expected:
            if (mean.ndim, len(expected)) != (3, 3) or len(mean) not in (1, expected[0]):
                raise ValueError(
                    "Mean shape incompatible with input shape. "
                    f"The mean is {shape_text(mean.shape)}, the input {shape_text(expected)}: "
                    "set one value per channel, or an image with as many channels."
                )
            mean = _resize_mean(mean, expected[1:])
        self.mean[in_] = mean

    def set_input_scale(self, in_, scale):
        """Set the factor applied last, after the mean is subtracted."""
        self._check_input(in_)
        self.input_scale[in_] = scale


def _resize_mean(mean, size):
    """Resize a (K, H, W) mean; a constant one stays constant, where pycaffe would divide by zero."""
    low = float(mean.min())
    spread = float(mean.max()) - low or 1.0
    return resize_image(((mean - low) / spread).transpose(1, 2, 0), size).transpose(2, 0, 1) * spread + low


class ImageError(CaffeError, OSError):
    """An image that cannot be loaded: also an ``IOError``, which scikit-image and Pillow raise and scripts catch."""


def load_image(filename, color=True):
    """Read an image file as float32 in [0, 1].

    Parameters
    ----------
    filename : str, path, binary file or URL
        An open file is read from its beginning. URLs may begin with http, https, ftp and file.

    Returns
    -------
    (H, W, 3) RGB ndarray, or (H, W, 1) intensities with `color` false
        Greyscale becomes three equal channels, an alpha channel is dropped, and a camera's orientation tag is not
        applied, as in the scikit-image that pycaffe uses.

    Raises ImageError with the name of a file that cannot be opened or is not an image.
    """
    encoded, name = _content(filename)
    image = decode(_as_stored(encoded), None, name)
    if image is None:
        raise ImageError(f"{name} is not an image that can be decoded")

    limit = 1.0 if image.dtype.kind == "f" else float(np.iinfo(image.dtype).max)
    gray = image.shape[2] == 1
    if not gray:
        image = image[:, :, 2::-1]
        if not color:
            return ((image / limit) @ np.array(LUMINANCE_RGB)).astype(np.float32)[:, :, np.newaxis]
    image = np.divide(image, np.float32(limit), dtype=np.float32, order="C")
    return np.tile(image, (1, 1, 3)) if gray and color else image


def _as_stored(data):
    """The bytes of an image without a TIFF's orientation tag, which OpenCV would always apply."""
    if data[:4] not in (b"II*\0", b"MM\0*"):
        return data
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"
    start = int.from_bytes(data[4:8], order)
    for entry in range(start + 2, start + 2 + 12 * int.from_bytes(data[start : start + 2], order), 12):
        if int.from_bytes(data[entry : entry + 2], order) == _ORIENTATION:
            return data[: entry + 8] + (1).to_bytes(2, order) + data[entry + 10 :]
    return data


def _content(source):
    """The bytes of a file or URL, and its name for messages."""
    if hasattr(source, "read"):
        name = str(getattr(source, "name", "the file given"))
        try:
            if getattr(source, "seekable", bool)():
                source.seek(0)
            content = source.read()
        except (OSError, ValueError) as error:  # ValueError: it is closed
            raise ImageError(f"Could not read {name}: {error}") from error
        if not isinstance(content, bytes):
            raise ImageError(f"{name} returns text, not bytes: open it in binary mode ('rb')")
        return content, name
    name = os.fsdecode(source)
    try:
        if not _URL.match(name):
            with open(name, "rb") as file:
                return file.read(), name
        with urllib.request.urlopen(name, timeout=_SECONDS) as answer:
            content = answer.read(_MAX_BYTES + 1)
    except (
        OSError,
        http.client.HTTPException,
        ValueError,
    ) as error:  # ValueError: an invalid URL, or a zero byte in a name
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        shown = name if name.isprintable() else repr(name[:100])
        raise ImageError(f"Could not open or find file {shown}: {reason}") from error
    if len(content) > _MAX_BYTES:
        raise ImageError(f"{name} has more than {_MAX_BYTES} bytes: download it first")
    return content, name


def resize(image, output_shape, order=1, mode="constant", cval=0, clip=True, preserve_range=False):
    """scikit-image's ``resize`` of 2015; pycaffe's io imports it, and scripts use it from there.

    Values are sampled at the centres of the new pixels, without smoothing before an image is made smaller.

    Parameters
    ----------
    image : (H, W) or (H, W, K) ndarray
        Integers are scaled to [0, 1], those with a sign to [-1, 1], unless `preserve_range`.
    output_shape : (height, width) or (height, width, K')
        If K' differs from K, the channels are interpolated too.
    order : int
        0 nearest, 1 linear, 2 to 5 splines.
    mode, cval
        Values beyond the edge: ``constant`` (`cval`), ``nearest``, ``reflect`` or ``wrap``.
    clip : bool
        Keep values in the image's range.

    Returns
    -------
    float64 ndarray of `output_shape`
    """
    from scipy.ndimage import map_coordinates

    image = np.asarray(image)
    values = image.astype(float)
    if image.dtype.kind in "iu" and not preserve_range:
        limits = np.iinfo(image.dtype)
        if image.dtype.kind == "u":
            values /= limits.max
        else:
            values = (values + 0.5) * 2 / (float(limits.max) - float(limits.min))
    if len(output_shape) == 3 and values.ndim == 2:
        values = values[:, :, np.newaxis]
    channels = values.ndim == 3 and len(output_shape) == 3 and values.shape[2] != output_shape[2]
    size = tuple(int(n) for n in output_shape[: 3 if channels else 2])
    where = np.meshgrid(
        *[(np.arange(new) + 0.5) * (old / new) - 0.5 for new, old in zip(size, values.shape, strict=False)],
        indexing="ij",
    )
    if mode == "constant" and not channels:
        mode = "grid-constant"  # between the edge and the next pixel beyond it, values are interpolated
    planes = [values] if channels or values.ndim == 2 else np.moveaxis(values, 2, 0)
    sampled = [map_coordinates(plane, where, order=order, mode=mode, cval=cval) for plane in planes]
    out = sampled[0] if channels or values.ndim == 2 else np.stack(sampled, 2)
    if clip:
        outside = out == cval if mode.endswith("constant") else np.zeros(1, bool)
        out = np.where(outside, out, out.clip(values.min(), values.max()))
    return out


def resize_image(im, new_dims, interp_order=1):
    """Resize an image as pycaffe does with the scikit-image of 2015.

    An image of one or three channels is rescaled to [0, 1], sampled at the centres of the new pixels, with zeros beyond
    its edge and no smoothing before it is made smaller, and rescaled back; a constant image remains constant. So an
    enlarged image has a darker edge of half an old pixel. Images with other numbers of channels are resized by
    `scipy.ndimage.zoom`, whose first and last samples are those of the image.

    Parameters
    ----------
    im : (H, W, K) ndarray
    new_dims : (height, width)
    interp_order : int
        0 nearest, 1 linear (exactly pycaffe's), 2 to 5 splines.

    Returns
    -------
    (height, width, K) float32 ndarray
    """
    height, width = (int(n) for n in new_dims)
    if im.shape[-1] not in (1, 3):
        from scipy.ndimage import zoom  # takes half a second to import, and is rarely needed

        scale = (height / im.shape[0], width / im.shape[1], 1)
        return zoom(im, scale, order=interp_order).astype(np.float32)

    im = im if im.dtype.kind == "f" else im.astype(float)
    low, high = im.min(), im.max()
    if not high > low:
        return np.full((height, width, im.shape[-1]), low, np.float32)
    stretched = (im - low) / (high - low)
    if interp_order == 1:
        resized = _sample_linear(_sample_linear(stretched, 0, height), 1, width)
    else:
        from scipy.ndimage import zoom

        scale = (height / im.shape[0], width / im.shape[1], 1)
        resized = zoom(stretched.astype(float), scale, order=interp_order, mode="grid-constant", grid_mode=True)
        resized = resized.clip(0, 1)
    return (resized * (high - low) + low).astype(np.float32)


def _sample_linear(image, axis, size):
    """Linear samples at the centres of `size` equal cells along `axis`, float64, with zeros beyond the edge."""
    length = image.shape[axis]
    position = (np.arange(size) + 0.5) * (length / size) - 0.5
    before = np.floor(position).astype(int)
    after = before + 1
    weight = position - before
    along = (slice(None), *[np.newaxis] * (image.ndim - 1 - axis))
    sampled = image.take(before.clip(min=0), axis) * np.where(before < 0, 0, 1 - weight)[along]
    sampled += image.take(after.clip(max=length - 1), axis) * np.where(after < length, weight, 0)[along]
    return sampled


def oversample(images, crop_dims):
    """Crop images at the four corners and the centre, and mirror each crop.

    Parameters
    ----------
    images : sequence of (H, W, K) ndarrays of one size
    crop_dims : (height, width)

    Returns
    -------
    (10 N, height, width, K) float32 ndarray
        For every image: top left, top right, bottom left, bottom right, centre, then their mirror images in this order.

    Raises ValueError for images smaller than the crop.

    >>> image = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]])
    >>> crops = oversample([image[..., np.newaxis]], (1, 2))
    >>> crops[:, 0, :, 0].astype(int).tolist()
    [[0, 1], [2, 3], [8, 9], [10, 11], [5, 6], [1, 0], [3, 2], [9, 8], [11, 10], [6, 5]]
    """
    height, width = (int(n) for n in crop_dims)
    rows, columns, channels = images[0].shape
    bottom, right = rows - height, columns - width
    if min(bottom, right) < 0:
        raise ValueError(f"cannot crop {height}x{width} out of images of {rows}x{columns}")
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = np.empty((len(images), 10, height, width, channels), np.float32)
    for image, of_image in zip(images, crops, strict=True):
        for crop, (top, left) in zip(of_image, corners, strict=False):
            crop[...] = image[top : top + height, left : left + width]
    crops[:, 5:] = crops[:, :5, :, ::-1]
    return crops.reshape(-1, height, width, channels)
