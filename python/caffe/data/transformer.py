"""Crop, mirror, mean and scale of the data layers, with random numbers in Caffe's order (data_transformer.cpp)."""

from typing import Any

import numpy as np
import torch

from ..errors import CaffeError, shape_text
from ..formats import read_blob
from ..proto import caffe_pb2
from ..random.rng import Stream


class DataTransformer:
    """The transformation of a ``TransformationParameter`` in one phase.

    An image (C, H, W), uint8 or float32, BGR, becomes ``(pixel - mean) * scale`` in float32. It is cropped at random
    in TRAIN and in the centre in TEST, and with ``mirror`` it is mirrored with probability 1/2 in either. A mean file
    has the size of the uncropped image and is cropped in the same place.
    """

    def __init__(self, param, phase):
        self.param = param
        self.phase = phase
        self.crop_size = param.crop_size
        self.scale = np.float32(param.scale)
        self.stream: Any = None  # a Stream if random numbers are needed
        self.mean: Any = None  # (C, H, W)
        self.mean_values = np.array(param.mean_value, np.float32).reshape(-1, 1, 1)
        if param.HasField("mean_file"):
            if len(param.mean_value):
                raise CaffeError("Cannot specify mean_file and mean_value at the same time in transform_param.")
            mean = np.asarray(read_blob(param.mean_file), np.float32)
            if mean.ndim < 3 or mean.size != np.prod(mean.shape[-3:]):
                raise CaffeError(f"The mean file {param.mean_file} holds {mean.shape}, not one image of 1 x C x H x W.")
            self.mean = mean.reshape(mean.shape[-3:])

    @property
    def random(self):
        """Whether random numbers are needed: for mirroring, or for cropping in TRAIN."""
        return self.param.mirror or (self.phase == caffe_pb2.TRAIN and self.crop_size > 0)

    def init_rand(self, stream):
        """Seed the transformer's own stream with a word of ``stream``, if random numbers are needed."""
        if self.random:
            self.stream = Stream(stream.word())

    def output_shape(self, shape):
        """The shape (C, H, W) that an image of ``shape`` is transformed to; CaffeError if the crop does not fit."""
        channels, height, width = shape
        if not self.crop_size:
            return tuple(shape)
        if height < self.crop_size or width < self.crop_size:
            raise CaffeError(f"an image of {height} x {width} is smaller than crop_size {self.crop_size}")
        return channels, self.crop_size, self.crop_size

    def place(self, shape, batch):
        """Draw the crop of an image of ``shape``, and whether it is mirrored, for images of shape ``batch``.

        Returns slices of channels, rows and columns, and a bool. Raises CaffeError if the shapes do not agree (without
        a full stop: the caller adds the place).
        """
        _, height, width = shape
        output = self.output_shape(shape)
        if tuple(batch) != output:
            raise CaffeError(
                f"an image of {shape_text(output)} in a batch of {shape_text(batch)}: all images of a batch need the "
                "same size and channels (set crop_size, or new_height and new_width)"
            )
        mirror = bool(self.param.mirror) and self.stream.word() % 2 == 1
        top = left = 0
        if self.crop_size and self.phase == caffe_pb2.TRAIN:
            top = self.stream.word() % (height - self.crop_size + 1)
            left = self.stream.word() % (width - self.crop_size + 1)
        elif self.crop_size:
            top, left = (height - self.crop_size) // 2, (width - self.crop_size) // 2
        self._require_mean_fits(shape)
        return np.s_[:, top : top + output[1], left : left + output[2]], mirror

    def transform(self, image, out):
        """Write the transformed ``image`` into ``out``, float32 of ``output_shape(image.shape)``.

        Errors as in `place`.
        """
        part, mirror = self.place(image.shape, out.shape)
        target = out[:, :, ::-1] if mirror else out
        if self.mean is not None:
            np.subtract(image[part], self.mean[part], out=target)
        elif len(self.mean_values):
            np.subtract(image[part], self.mean_values, out=target)
        else:
            target[...] = image[part]
        if self.scale != 1:
            out *= self.scale

    def transform_together(self, images, places):
        """The batch that `transform` would make of images, computed on their device.

        Parameters
        ----------
        images : list of torch.Tensor
            (C, H, W), uint8 or float32, on one device.
        places : list
            The results of `place` for them.

        Returns
        -------
        torch.Tensor
            (N, C, crop, crop) float32.
        """
        device = images[0].device
        batch = torch.stack([image[part] for image, (part, _) in zip(images, places, strict=True)]).float()
        if self.mean is not None:
            mean = torch.from_numpy(self.mean).to(device)
            batch -= torch.stack([mean[part] for part, _ in places])
        elif len(self.mean_values):
            batch -= torch.from_numpy(self.mean_values).to(device)
        if self.scale != 1:
            batch *= float(self.scale)
        if any(mirror for _, mirror in places):
            mirrored = torch.tensor([mirror for _, mirror in places]).to(device)
            batch = torch.where(mirrored[:, None, None, None], batch.flip(-1), batch)
        return batch

    def _require_mean_fits(self, shape):
        if self.mean is not None and self.mean.shape != tuple(shape):
            raise CaffeError(
                f"the mean file {self.param.mean_file} is {shape_text(self.mean.shape)} but an image is "
                f"{shape_text(shape)}: the mean must have the images' size before cropping; channel means (mean_value) "
                "fit any size"
            )
        count = len(self.mean_values)
        if count not in (0, 1, shape[0]):
            raise CaffeError(f"Specify either 1 mean_value or as many as channels: {shape[0]} (there are {count})")
