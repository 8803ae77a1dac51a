"""Crop, mirror, mean and scale of the data layers, with Caffe's draws in Caffe's order (data_transformer.cpp)."""

from typing import Any

import numpy as np

from .errors import CaffeError
from .formats import read_blob
from .proto import caffe_pb2
from .rng import Stream


class DataTransformer:
    """What a ``TransformationParameter`` asks for, in one phase.

    An image (C, H, W), uint8 or float32, BGR, becomes ``(pixel - mean) * scale`` in float32. It is cropped at random
    at TRAIN and in the centre at TEST, and mirrored by the toss of a coin in either. A mean file has the size of the
    uncropped image and is read at the crop's place.
    """

    def __init__(self, param, phase):
        self.param = param
        self.phase = phase
        self.crop_size = param.crop_size
        self.scale = np.float32(param.scale)
        self.stream: Any = None  # a Stream once it draws
        self._mean = None
        self._mean_values = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)
        if param.HasField("mean_file"):
            if len(param.mean_value):
                raise CaffeError("Cannot specify mean_file and mean_value at the same time in transform_param.")
            mean = np.asarray(read_blob(param.mean_file), np.float32)
            if mean.ndim < 3 or mean.size != np.prod(mean.shape[-3:]):
                raise CaffeError(f"The mean file {param.mean_file} holds {mean.shape}, not one image of 1 x C x H x W.")
            self._mean = mean.reshape(mean.shape[-3:])

    @property
    def random(self):
        """Whether it draws at all: it mirrors, or crops at TRAIN."""
        return self.param.mirror or (self.phase == caffe_pb2.TRAIN and self.crop_size > 0)

    def init_rand(self, stream):
        """Seed the own stream with a word of ``stream``, if it will be needed."""
        if self.random:
            self.stream = Stream(stream.word())

    def output_shape(self, shape):
        """The shape (C, H, W) of what becomes of an image of ``shape``; CaffeError where the crop does not fit."""
        channels, height, width = shape
        if not self.crop_size:
            return tuple(shape)
        if height < self.crop_size or width < self.crop_size:
            raise CaffeError(f"an image of {height} x {width} is smaller than crop_size {self.crop_size}")
        return channels, self.crop_size, self.crop_size

    def transform(self, image, out):
        """Write the transformed ``image`` into ``out``, float32 of ``output_shape(image.shape)``.

        Raises CaffeError (without a full stop, for the caller to add the place) where shapes do not agree.
        """
        _, height, width = image.shape
        shape = self.output_shape(image.shape)
        if out.shape != shape:
            raise CaffeError(
                f"an image gives {_by(shape)} in a batch of {_by(out.shape)}: all of a batch need the same size and "
                "channels (set crop_size, or new_height and new_width)"
            )
        mirror = bool(self.param.mirror) and self.stream.word() % 2 == 1
        top = left = 0
        if self.crop_size and self.phase == caffe_pb2.TRAIN:
            top = self.stream.word() % (height - self.crop_size + 1)
            left = self.stream.word() % (width - self.crop_size + 1)
        elif self.crop_size:
            top, left = (height - self.crop_size) // 2, (width - self.crop_size) // 2
        crop = np.s_[:, top : top + shape[1], left : left + shape[2]]
        target = out[:, :, ::-1] if mirror else out
        mean = self._mean_of(image.shape, crop)
        if mean is None:
            target[...] = image[crop]
        else:
            np.subtract(image[crop], mean, out=target)
        if self.scale != 1:
            out *= self.scale

    def _mean_of(self, shape, crop):
        if self._mean is not None:
            if self._mean.shape != tuple(shape):
                raise CaffeError(
                    f"the mean file {self.param.mean_file} is {_by(self._mean.shape)} but an image is {_by(shape)}: "
                    "the mean must have the images' size before cropping; channel means (mean_value) fit any size"
                )
            return self._mean[crop]
        count = len(self._mean_values)
        if count not in (0, 1, shape[0]):
            raise CaffeError(f"Specify either 1 mean_value or as many as channels: {shape[0]} (there are {count})")
        return self._mean_values if count else None


def _by(shape):
    return " x ".join(str(n) for n in shape)
