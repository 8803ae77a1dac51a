"""A net that classifies windows of images, as R-CNN does: pycaffe's ``caffe.Detector``."""

import os

import numpy as np

from . import io
from .classifier import transformer_of
from .errors import AbsentError, CaffeError
from .nets.net import Net
from .proto import caffe_pb2


class Detector(Net):
    """A net with one image input, square if there is context, which it prepares windows of images for.

    Parameters
    ----------
    model_file, pretrained_file : str
        Deploy definition and weights.
    mean, input_scale, raw_scale, channel_swap : optional
        Arguments of the setters of `caffe.io.Transformer`.
    context_pad : int, optional
        Pixels around the window in the net's input that show what surrounds it in the image; beyond the image they are
        the mean.
    """

    def __init__(
        self,
        model_file,
        pretrained_file,
        mean=None,
        input_scale=None,
        raw_scale=None,
        channel_swap=None,
        context_pad=None,
    ):
        super().__init__(model_file, caffe_pb2.TEST, weights=pretrained_file)
        self.transformer = transformer_of(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows):
        """Classify windows of images.

        Parameters
        ----------
        images_windows : iterable of (file name, windows)
            A window is (ymin, xmin, ymax, xmax) in whole pixels; the last row and column do not belong to it.

        Returns
        -------
        list of dict
            For each window, in order: ``window``, ``prediction`` (the net's first output, (classes,)) and ``filename``.

        Raises
        ------
        CaffeError
            For a file that is not an image, and a window without pixels.
        """
        found, crops = [], []
        name = self.inputs[0]
        for filename, windows in images_windows:
            image = io.load_image(filename)
            for window in windows:
                try:
                    crops.append(self.transformer.preprocess(name, self.crop(image, window)))
                except CaffeError as error:
                    raise CaffeError(f"{filename}: {error}") from None
                found.append({"window": window, "filename": filename})
        if found:
            predictions = self.forward_all(**{name: np.array(crops)})[self.outputs[0]]
            for one, prediction in zip(found, predictions):
                one["prediction"] = prediction
        return found

    def detect_selective_search(self, image_fnames):
        """Classify the windows that selective search proposes, which needs its Python and MATLAB package."""
        try:
            import selective_search_ijcv_with_python as selective_search
        except ImportError:
            raise AbsentError(
                "Selective search requires selective_search_ijcv_with_python, which is not installed: give the windows "
                "to detect_windows instead (detect.py: --crop_mode list)."
            ) from None
        paths = [os.path.abspath(name) for name in image_fnames]
        return self.detect_windows(zip(paths, selective_search.get_windows(paths, cmd="selective_search_rcnn")))

    def crop(self, im, window):
        """A window of an image (H, W, K); with context it has the size of the net's input.

        The window is enlarged about its centre so that it and its context fill the input, cut off where the image
        ends, and warped; the rest is the mean.
        """
        window = np.asarray(window).astype(int)
        if not self.context_pad:
            crop = im[window[0] : window[2], window[1] : window[3]]
            if not crop.size:
                raise CaffeError(f"the window {window.tolist()} has no pixels in an image of {im.shape[:2]}.")
            return crop
        size = self.crop_dims[1]
        scale = size / (size - 2.0 * self.context_pad)
        half = np.array((window[2:] - window[:2] + 1) / 2.0)
        centre = window[:2] + half
        box = np.concatenate((centre - scale * half, centre + scale * half)).round()
        factor = size / (box[2:] - box[:2] + 1)  # pixels of the input per pixel of the image
        start = np.round(np.maximum(0, -box[:2]) * factor).astype(int)
        inside = np.clip(box, 0, np.tile(im.shape[:2], 2))
        extent = np.round((inside[2:] - inside[:2] + 1) * factor).astype(int)
        extent = np.minimum(extent, size - start)
        top, left, bottom, right = inside.astype(int)
        if top >= bottom or left >= right or extent.min() < 1:
            raise CaffeError(f"the window {window.tolist()} has no pixels in an image of {im.shape[:2]}.")
        crop = np.ones(self.crop_dims, np.float32) * self.crop_mean
        warped = io.resize_image(im[top:bottom, left:right], tuple(extent))
        crop[start[0] : start[0] + extent[0], start[1] : start[1] + extent[1]] = warped
        return crop

    def configure_crop(self, context_pad):
        """Set the context, and with it the mean as an image that `Transformer.preprocess` turns into zeros."""
        name = self.inputs[0]
        channels, height, width = self.blobs[name].data.shape[1:]
        self.crop_dims = np.array([height, width, channels])
        self.context_pad = context_pad
        mean = self.transformer.mean.get(name)
        self.crop_mean = np.zeros(self.crop_dims, np.float32)
        if context_pad and mean is not None:
            image = mean if mean.ndim == 3 else mean[np.newaxis]
            image = image.transpose(1, 2, 0)
            if self.transformer.channel_swap.get(name) is not None:
                image = image[:, :, np.argsort(self.transformer.channel_swap[name])]
            self.crop_mean = image / (self.transformer.raw_scale.get(name) or 1)
