import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st

from caffe.data.transformer import DataTransformer
from caffe.errors import CaffeError
from caffe.formats import write_blob
from caffe.proto import caffe_pb2
from caffe.random.rng import Stream
from helpers.layer_checks import examples

f32 = np.float32
TRAIN, TEST = caffe_pb2.TRAIN, caffe_pb2.TEST


def make(text, phase, seed=1):
    transformer = DataTransformer(text_format.Parse(text, caffe_pb2.TransformationParameter()), phase)
    transformer.init_rand(Stream(seed))
    return transformer


def apply(transformer, image):
    out = np.empty(transformer.output_shape(image.shape), f32)
    transformer.transform(image, out)
    return out


def picture(seed, shape=(3, 9, 8)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def plain(image, param, phase, stream, mean):
    """Pixel by pixel, with Caffe's draws: mirror, row, column."""
    channels, height, width = image.shape
    mirror = param.mirror and stream.word() % 2
    crop, top, left = param.crop_size, 0, 0
    if crop and phase == TRAIN:
        top = stream.word() % (height - crop + 1)
        left = stream.word() % (width - crop + 1)
    elif crop:
        top, left = (height - crop) // 2, (width - crop) // 2
    rows, columns = (crop, crop) if crop else (height, width)
    out = np.empty((channels, rows, columns), f32)
    for c, y, x in np.ndindex(out.shape):
        value = (f32(image[c, top + y, left + x]) - mean[c, top + y, left + x]) * f32(param.scale)
        out[c, y, columns - 1 - x if mirror else x] = value
    return out


@examples(60)
@given(
    seed=st.integers(0, 2**32 - 1),
    crop=st.sampled_from([0, 1, 5, 8]),
    mirror=st.booleans(),
    scale=st.sampled_from([1.0, 0.00390625, 0.017]),
    means=st.sampled_from([[], [104.5], [104, 117, 123.25]]),
    phase=st.sampled_from([TRAIN, TEST]),
)
def test_equals_pixel_by_pixel(seed, crop, mirror, scale, means, phase):
    param = caffe_pb2.TransformationParameter(crop_size=crop, mirror=mirror, scale=scale, mean_value=means)
    transformer = DataTransformer(param, phase)
    transformer.init_rand(Stream(seed))
    stream = Stream(Stream(seed).word())
    mean = np.broadcast_to(np.array(means or [0], f32).reshape(-1, 1, 1), (3, 9, 8))
    for i in range(3):
        image = picture(i)
        assert np.array_equal(apply(transformer, image), plain(image, param, phase, stream, mean))


def test_mean_file_is_read_at_the_crops_place_before_mirroring(tmp_path):
    mean = np.random.default_rng(5).uniform(0, 255, (3, 9, 8)).astype(f32)
    write_blob(tmp_path / "mean.binaryproto", mean[np.newaxis])
    transformer = make(f"mean_file: '{tmp_path}/mean.binaryproto' crop_size: 4 mirror: true scale: 0.5", TRAIN)
    stream = Stream(Stream(1).word())
    for i in range(6):
        image = picture(i)
        assert np.array_equal(apply(transformer, image), plain(image, transformer.param, TRAIN, stream, mean))


def test_floats_pass_through():
    image = np.random.default_rng(1).normal(size=(2, 3, 3)).astype(f32)
    assert np.array_equal(apply(make("", TEST), image), image)


@pytest.mark.parametrize(
    ("text", "phase", "draws"),
    [
        ("", TRAIN, False),
        ("crop_size: 3", TRAIN, True),
        ("crop_size: 3", TEST, False),
        ("mirror: true", TEST, True),
        ("scale: 2 mean_value: 1", TRAIN, False),
    ],
)
def test_takes_a_seed_only_where_it_draws(text, phase, draws):
    stream = Stream(1)
    DataTransformer(text_format.Parse(text, caffe_pb2.TransformationParameter()), phase).init_rand(stream)
    first = Stream(1).word()
    assert (stream.word() != first) == draws


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crop_size: 10", "9 x 8 is smaller than crop_size 10"),
        ("mean_value: 1 mean_value: 2", "Specify either 1 mean_value or as many as channels: 3"),
    ],
)
def test_refuses_an_image(text, message):
    with pytest.raises(CaffeError, match=message):
        apply(make(text, TRAIN), picture(0))


def test_refuses_a_mean_of_another_size(tmp_path):
    write_blob(tmp_path / "mean.binaryproto", np.zeros((1, 3, 7, 7), f32))
    transformer = make(f"mean_file: '{tmp_path}/mean.binaryproto' crop_size: 7", TEST)
    with pytest.raises(CaffeError, match="3 x 7 x 7 but an image is 3 x 9 x 8"):
        apply(transformer, picture(0))


def test_refuses_mean_file_with_mean_value(tmp_path):
    write_blob(tmp_path / "mean.binaryproto", np.zeros((1, 3, 9, 8), f32))
    with pytest.raises(CaffeError, match="Cannot specify mean_file and mean_value at the same time"):
        make(f"mean_file: '{tmp_path}/mean.binaryproto' mean_value: 3", TEST)


def test_refuses_an_image_unlike_the_batch():
    with pytest.raises(CaffeError, match="3 x 9 x 8 in a batch of 3 x 9 x 9"):
        make("", TEST).transform(picture(0), np.empty((3, 9, 9), f32))
