"""A net that classifies images: pycaffe's ``caffe.Classifier``."""

import numpy as np

from . import io
from .nets.net import Net
from .proto import caffe_pb2


def transformer_of(net, mean=None, input_scale=None, raw_scale=None, channel_swap=None):
    """A `caffe.io.Transformer` of (H, W, K) images to a net's first input; what is None is not set."""
    name = net.inputs[0]
    transformer = io.Transformer({name: net.blobs[name].data.shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer


class Classifier(Net):
    """A net with one image input, which it prepares images for.

    Parameters
    ----------
    model_file, pretrained_file : str
        Deploy definition and weights.
    image_dims : (height, width), optional
        Size that images are warped to before they are cropped (default: the input's size).
    mean, input_scale, raw_scale, channel_swap : optional
        Arguments of the setters of `caffe.io.Transformer`. A mean image has the size of the net's input, the crop, and
        not of `image_dims`; any other size is resized to it.
    """

    def __init__(
        self,
        model_file,
        pretrained_file,
        image_dims=None,
        mean=None,
        input_scale=None,
        raw_scale=None,
        channel_swap=None,
    ):
        super().__init__(model_file, caffe_pb2.TEST, weights=pretrained_file)
        self.transformer = transformer_of(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].data.shape[2:])
        self.image_dims = self.crop_dims if image_dims is None else image_dims

    def predict(self, inputs, oversample=True):
        """Class probabilities of images.

        Parameters
        ----------
        inputs : sequence of (H, W, K) ndarrays
            As from `caffe.io.load_image`; their sizes may differ.
        oversample : bool
            Average over ten crops, the corners, the centre and their mirror images, instead of the centre crop only.

        Returns
        -------
        (N, classes) ndarray
        """
        rows, columns = self.image_dims
        images = np.empty((len(inputs), rows, columns, inputs[0].shape[2]), np.float32)
        for warped, image in zip(images, inputs, strict=True):
            warped[...] = io.resize_image(image, self.image_dims)

        if oversample:
            crops = io.oversample(images, self.crop_dims)
        else:
            height, width = self.crop_dims
            top, left = (rows - height) // 2, (columns - width) // 2
            crops = images[:, top : top + height, left : left + width]

        name = self.inputs[0]
        batch = np.empty(np.array(crops.shape)[[0, 3, 1, 2]], np.float32)
        for blob, crop in zip(batch, crops, strict=True):
            blob[...] = self.transformer.preprocess(name, crop)
        predictions = self.forward_all(**{name: batch})[self.outputs[0]]
        return predictions.reshape(len(inputs), 10, -1).mean(1) if oversample else predictions
