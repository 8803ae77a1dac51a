"""Images, datums and blob protos, and the transformation into a net's input."""

import functools
import http.server
import importlib.util
import io
import re
import socketserver
import threading

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

import caffe.io
from caffe.errors import CaffeError
from caffe.proto import caffe_pb2

RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def measured(root):
    """Folder of the classifier case and what BVLC Caffe gave for it."""
    conformance = root / "tests/conformance"
    return conformance / "cases/classifier_10crop", np.load(conformance / "reference/classifier_10crop.npz")


class TestBlobProto:
    def test_round_trip_keeps_any_shape_and_both_arrays(self):
        data, diff = RNG.random((2, 3, 1, 4, 5)).astype(np.float32), np.ones((2, 3, 1, 4, 5), np.float32)
        blob = caffe.io.array_to_blobproto(data, diff)
        np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob), data)
        assert caffe.io.blobproto_to_array(blob).dtype == caffe.io.blobproto_to_array(blob, True).dtype == np.float64
        np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob, return_diff=True), diff)

    def test_legacy_dimensions_win(self):
        blob = caffe_pb2.BlobProto(data=range(6), num=1, channels=1, height=2, width=3)
        assert caffe.io.blobproto_to_array(blob).shape == (1, 1, 2, 3)

    def test_without_shape_is_a_scalar_or_an_error(self):
        assert caffe.io.blobproto_to_array(caffe_pb2.BlobProto(data=[123])) == 123
        with pytest.raises(ValueError, match="reshape"):
            caffe.io.blobproto_to_array(caffe_pb2.BlobProto(data=range(100)))

    def test_vector_of_arrays_round_trips(self):
        arrays = [RNG.integers(0, 9, shape) for shape in ((2, 2), (3,), (1, 1, 2))]
        back = caffe.io.blobprotovector_str_to_arraylist(caffe.io.arraylist_to_blobprotovector_str(arrays))
        assert [array.tolist() for array in back] == [array.tolist() for array in arrays]

    def test_mean_file_of_bvlc(self, root):
        files = root / "tests/conformance/files"
        blob = caffe_pb2.BlobProto.FromString((files / "mean.binaryproto").read_bytes())
        numbers = np.load(files / "mean.npz")
        np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob).squeeze(), numbers[numbers.files[0]].squeeze())


class TestDatum:
    def test_bytes_round_trip_into_a_writable_array(self):
        array = RNG.integers(0, 256, (3, 4, 5), dtype=np.uint8)
        datum = caffe.io.array_to_datum(array, label=7)
        back = caffe.io.datum_to_array(datum)
        assert (datum.label, len(datum.data), back.dtype) == (7, 60, np.uint8)
        back += 0
        np.testing.assert_array_equal(back, array)

    def test_other_types_are_floats(self):
        array = np.arange(24).reshape(2, 3, 4) / 8
        datum = caffe.io.array_to_datum(array)
        assert not datum.data
        np.testing.assert_array_equal(caffe.io.datum_to_array(datum), array)

    def test_no_label_is_written_unless_given(self):
        array = np.ones((3, 2, 2))
        assert not caffe.io.array_to_datum(array, label=None).HasField("label")
        assert caffe.io.array_to_datum(array, label=0).HasField("label")

    @pytest.mark.parametrize("shape", [(), (2,), (2, 2), (1, 1, 2, 2)])
    def test_only_three_axes(self, shape):
        with pytest.raises(ValueError, match="Incorrect array shape"):
            caffe.io.array_to_datum(np.zeros(shape))


class TestLoadImage:
    def test_pixels_are_those_bvlc_loaded(self, measured):
        folder, reference = measured
        for path, expected in zip(sorted((folder / "images").iterdir()), reference["loaded"], strict=True):
            image = caffe.io.load_image(str(path))
            flat = image.astype(float).ravel()
            sums = flat.size, flat.sum(), (flat**2).sum(), flat @ np.cos(np.arange(flat.size) * 0.7310585786)
            np.testing.assert_allclose(sums, expected[[0, 1, 3, 4]], rtol=0, atol=1e-9)
            assert image.dtype == np.float32

    @pytest.fixture
    def save(self, tmp_path):
        def _save(array, name="image.png"):
            assert cv2.imwrite(str(tmp_path / name), array)
            return tmp_path / name

        return _save

    def test_color_is_rgb_between_0_and_1(self, save):
        image = caffe.io.load_image(save(np.array([[[255, 0, 51]]], np.uint8)))
        np.testing.assert_allclose(image, [[[0.2, 0, 1]]])

    def test_alpha_is_dropped(self, save):
        image = caffe.io.load_image(save(np.array([[[10, 20, 30, 0]]], np.uint8)))
        np.testing.assert_allclose(image * 255, [[[30, 20, 10]]])

    def test_gray_is_repeated_for_color_only(self, save):
        path = save(np.array([[0, 51, 255]], np.uint8))
        np.testing.assert_allclose(caffe.io.load_image(path)[0], np.repeat([[0], [0.2], [1]], 3, 1))
        np.testing.assert_allclose(caffe.io.load_image(path, color=False)[0], [[0], [0.2], [1]])

    def test_color_becomes_luminance(self, save):
        image = caffe.io.load_image(save(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)), color=False)
        np.testing.assert_allclose(image[0, :, 0], [0.0721, 0.7154, 0.2125])

    def test_sixteen_bits_use_their_own_range(self, save):
        image = caffe.io.load_image(save(np.array([[65535, 13107]], np.uint16)))
        np.testing.assert_allclose(image[0], [[1] * 3, [0.2] * 3])

    def test_missing_file_and_no_image_are_named(self, tmp_path):
        with pytest.raises(CaffeError, match=r"nowhere\.jpg"):
            caffe.io.load_image(tmp_path / "nowhere.jpg")
        for content in (b"", b"text"):
            (tmp_path / "text.jpg").write_bytes(content)
            with pytest.raises(CaffeError, match=r"text\.jpg is not an image"):
                caffe.io.load_image(tmp_path / "text.jpg")


class TestWhereImagesComeFrom:
    """What scripts give to load_image: web_demo a URL's bytes, open_nsfw what Pillow wrote, others URLs."""

    @pytest.fixture
    def path(self, tmp_path):
        cv2.imwrite(str(tmp_path / "a.png"), RNG.integers(0, 255, (5, 4, 3), np.uint8))
        return tmp_path / "a.png"

    @pytest.fixture
    def site(self, tmp_path):
        handler = functools.partial(Quiet, directory=tmp_path)
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()

    def test_paths_files_and_urls_are_one_image(self, path, site):
        expected = cv2.imread(str(path))[:, :, ::-1].astype(np.float32) / 255
        written = io.BytesIO()
        written.write(path.read_bytes())  # stands at its end, as after Pillow's save
        with open(path, "rb") as file:
            for source in str(path), path, bytes(path), written, file, path.as_uri(), f"{site}/a.png":
                np.testing.assert_array_equal(caffe.io.load_image(source), expected)

    def test_a_stream_that_cannot_go_back(self, path):
        class Stream(io.RawIOBase):
            def read(self, size=-1):
                return path.read_bytes()

        assert caffe.io.load_image(Stream()).shape == (5, 4, 3)

    @pytest.mark.parametrize("source", ["{site}/none.png", "http://127.0.0.1:1/a.png", "http://[", "file:///none.png"])
    def test_urls_that_lead_nowhere_are_one_sentence(self, source, site):
        source = source.format(site=site)
        for kind in OSError, CaffeError:  # scripts look for an IOError
            with pytest.raises(kind, match=re.escape(source)) as error:
                caffe.io.load_image(source)
            assert "\n" not in str(error.value)

    @pytest.mark.parametrize("answer", [b"\n\n", b"HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n"])
    def test_answers_of_several_lines_are_one_sentence(self, answer):
        with socketserver.TCPServer(("127.0.0.1", 0), Fixed) as server:
            server.answer = answer
            threading.Thread(target=server.serve_forever, daemon=True).start()
            with pytest.raises(caffe.io.ImageError, match=r"^[^\n]+$"):
                caffe.io.load_image(f"http://127.0.0.1:{server.server_address[1]}/a.png")
            server.shutdown()

    def test_files_that_cannot_be_read_any_more(self, path):
        with open(path, "rb") as file:
            pass
        with pytest.raises(caffe.io.ImageError, match=re.escape(str(path))):
            caffe.io.load_image(file)
        with pytest.raises(caffe.io.ImageError, match=r"^[^\n]+$"):
            caffe.io.load_image(path.read_bytes())

    def test_a_url_of_too_many_bytes(self, path, site, monkeypatch):
        monkeypatch.setattr(caffe.io, "_MAX_BYTES", 50)
        with pytest.raises(CaffeError, match=r"a\.png has more than 50 bytes"):
            caffe.io.load_image(f"{site}/a.png")

    def test_text_is_no_image(self):
        with pytest.raises(CaffeError, match="binary mode"):
            caffe.io.load_image(io.StringIO("text"))
        with pytest.raises(OSError, match="not an image"):
            caffe.io.load_image(io.BytesIO(b"text"))


class Fixed(socketserver.StreamRequestHandler):
    def handle(self):
        while self.rfile.readline().strip():
            pass
        self.wfile.write(self.server.answer)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def as_scikit_image(image, size):
    """Bilinear at pixel centres with zeros around, by another implementation."""
    low, high = image.min(), image.max()
    centres = [(np.arange(new) + 0.5) * old / new - 0.5 for new, old in zip(size, image.shape, strict=False)]
    where = np.meshgrid(*centres, indexing="ij")
    stretched = ((image - low) / (high - low)).astype(float)
    planes = [
        ndimage.map_coordinates(plane, where, order=1, mode="grid-constant") for plane in np.moveaxis(stretched, 2, 0)
    ]
    return np.stack(planes, 2) * (high - low) + low


class TestResize:
    def test_images_resized_by_bvlc(self, measured):
        folder, reference = measured
        for path, expected in zip(sorted((folder / "images").iterdir()), reference["resized"], strict=False):
            resized = caffe.io.resize_image(caffe.io.load_image(path), (256, 256))
            assert resized.dtype == np.float32
            np.testing.assert_allclose(resized, expected, rtol=0, atol=1e-7)

    @pytest.mark.parametrize("size", [(7, 40), (23, 11), (1, 1), (50, 50), (20, 31)])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
    def test_is_bilinear_with_a_zero_rim(self, size, channels, dtype):
        image = (RNG.random((20, 31, channels)) * 200 + 20).astype(dtype)
        expected = as_scikit_image(image.astype(float) if dtype == np.uint8 else image, size)
        np.testing.assert_allclose(caffe.io.resize_image(image, size), expected, rtol=2e-7)

    def test_shrinking_does_not_smooth(self):
        image = np.zeros((9, 9, 1))
        image[::3] = 1  # every third row; the new pixels' centres fall on the rows after those
        assert not caffe.io.resize_image(image, (3, 9)).any()

    @pytest.mark.parametrize("order", [0, 1, 3])
    def test_constant_image_stays_constant(self, order):
        np.testing.assert_array_equal(
            caffe.io.resize_image(np.full((5, 6, 3), 0.3), (8, 4), order), np.full((8, 4, 3), np.float32(0.3))
        )

    def test_nearest_only_repeats(self):
        image = RNG.random((4, 5, 3)).astype(np.float32)
        resized = caffe.io.resize_image(image, (12, 15), interp_order=0)
        np.testing.assert_allclose(resized, image.repeat(3, 0).repeat(3, 1), rtol=1e-6)

    def test_cubic_is_closer_to_a_curve_and_stays_in_range(self):
        image = np.broadcast_to(np.sin(np.linspace(0, np.pi, 21))[:, np.newaxis, np.newaxis], (21, 21, 3))
        curve = np.sin(((np.arange(84) + 0.5) / 4 - 0.5) * np.pi / 20)
        linear, cubic = (caffe.io.resize_image(image, (84, 84), order)[:, 42, 0] for order in (1, 3))
        inner = slice(16, -16)  # away from the rim that fades to zero
        assert abs(cubic - curve)[inner].max() < abs(linear - curve)[inner].max() / 10
        assert 0 <= cubic.min() <= cubic.max() <= 1

    def test_other_channel_counts_keep_the_end_samples(self):
        image = RNG.random((6, 7, 4))
        resized = caffe.io.resize_image(image, (11, 13))
        np.testing.assert_allclose(resized[::2, ::2], image, rtol=1e-6)
        np.testing.assert_allclose(resized[1], (resized[0] + resized[2]) / 2, rtol=1e-6)


class TestScikitImagesResize:
    """``caffe.io.resize``, which scripts use for pycaffe's import of it."""

    @pytest.mark.parametrize("size", [(7, 40), (23, 11), (20, 31)])
    def test_is_bilinear_with_a_zero_rim(self, size):
        image = RNG.random((20, 31, 3))
        stretched = (image - image.min()) / (image.max() - image.min())
        np.testing.assert_allclose(caffe.io.resize(stretched, (*size, 3)), as_scikit_image(stretched, size), atol=1e-12)
        np.testing.assert_allclose(caffe.io.resize(stretched, size)[:, :, 1], caffe.io.resize(stretched[:, :, 1], size))

    def test_integers_become_fractions(self):
        assert caffe.io.resize(np.array([[0, 51], [255, 51]], np.uint8), (2, 2)).tolist() == [[0, 0.2], [1, 0.2]]
        assert caffe.io.resize(np.array([[7]], np.uint8), (1, 1, 1), preserve_range=True).tolist() == [[[7]]]
        assert caffe.io.resize(np.array([[-128, 127]], np.int8), (1, 2)).tolist() == [[-1, 1]]

    def test_what_lies_beyond_the_edge(self):
        image = np.array([[0.0, 1.0]])
        rim = [caffe.io.resize(image, (1, 4), mode=mode)[0, 3] for mode in ("constant", "nearest", "reflect")]
        assert rim == [0.75, 1, 1]
        assert caffe.io.resize(image, (1, 4), mode="constant", cval=1)[0, 0] == 0.25

    def test_values_stay_in_the_images_range(self):
        image = np.array([[0.0, 0.0, 0.8, 0.8, 0.8, 0.0, 0.0]])
        assert caffe.io.resize(image, (1, 35), order=3).max() == 0.8
        assert caffe.io.resize(image, (1, 35), order=3, clip=False).max() > 0.8

    def test_another_number_of_channels_is_interpolated(self):
        image = np.stack([np.zeros((4, 4)), np.ones((4, 4))], 2)
        np.testing.assert_allclose(caffe.io.resize(image, (4, 4, 4))[1, 1], [0, 0.25, 0.75, 0])
        assert caffe.io.resize(np.ones((4, 4)), (2, 2, 1)).shape == (2, 2, 1)


def test_names_that_scripts_take_from_io():
    assert caffe.io.np is np and caffe.io.zoom is ndimage.zoom and caffe.io.caffe_pb2 is caffe.proto.caffe_pb2
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        caffe.io.nothing  # noqa: B018
    if importlib.util.find_spec("skimage"):
        assert caffe.io.skimage.io.imread
    else:
        with pytest.raises(AttributeError, match="scikit-image"):
            caffe.io.skimage  # noqa: B018


class TestOversample:
    def test_corners_centre_mirrors(self):
        images = RNG.random((2, 8, 9, 3)).astype(np.float32)
        crops = caffe.io.oversample(images, (5, 4)).reshape(2, 10, 5, 4, 3)
        places = [(0, 0), (0, 5), (3, 0), (3, 5), (1, 2)]
        for image, of_image in zip(images, crops, strict=True):
            for (top, left), crop, mirror in zip(places, of_image[:5], of_image[5:], strict=True):
                np.testing.assert_array_equal(crop, image[top : top + 5, left : left + 4])
                np.testing.assert_array_equal(mirror, crop[:, ::-1])

    def test_takes_arrays_as_dimensions_and_lists_of_images(self):
        assert caffe.io.oversample([np.zeros((6, 6, 1))], np.array((6, 6))).shape == (10, 6, 6, 1)

    def test_crop_larger_than_the_image(self):
        with pytest.raises(ValueError, match="cannot crop 5x4 out of images of 4x4"):
            caffe.io.oversample([np.zeros((4, 4, 1))], (5, 4))


class TestTransformer:
    @pytest.fixture
    def transformer(self):
        transformer = caffe.io.Transformer({"data": (10, 3, 4, 5)})
        transformer.set_transpose("data", (2, 0, 1))
        return transformer

    def test_steps_in_their_order(self, transformer):
        image = RNG.random((4, 5, 3)).astype(np.float32)
        transformer.set_channel_swap("data", (2, 0, 1))
        transformer.set_raw_scale("data", 255)
        transformer.set_mean("data", np.array([1.0, 2.0, 3.0]))
        transformer.set_input_scale("data", 0.5)
        blob = transformer.preprocess("data", image)
        expected = (image.transpose(2, 0, 1)[[2, 0, 1]] * 255 - np.array([1, 2, 3])[:, None, None]) * 0.5
        np.testing.assert_allclose(blob, expected, rtol=1e-6, atol=1e-5)
        assert blob.dtype == np.float32
        np.testing.assert_allclose(transformer.deprocess("data", blob[np.newaxis]), image, atol=1e-6)

    def test_resizes_to_the_input(self, transformer):
        image = RNG.random((9, 9, 3)).astype(np.float32)
        np.testing.assert_array_equal(
            transformer.preprocess("data", image), caffe.io.resize_image(image, (4, 5)).transpose(2, 0, 1)
        )

    def test_the_image_given_is_not_changed(self, transformer):
        image = np.ones((4, 5, 3), np.float32)
        transformer.set_raw_scale("data", 255)
        transformer.preprocess("data", image)
        assert (image == 1).all()

    @pytest.mark.parametrize("shape", [(3,), (3, 4, 5)])
    def test_means_that_fit(self, transformer, shape):
        transformer.set_mean("data", np.ones(shape))
        assert (transformer.preprocess("data", np.ones((4, 5, 3))) == 0).all()

    def test_flat_mean_for_one_channel(self):
        transformer = caffe.io.Transformer({"data": (1, 1, 4, 5)})
        transformer.set_transpose("data", (2, 0, 1))
        transformer.set_mean("data", np.ones((4, 5)))
        assert (transformer.preprocess("data", np.ones((4, 5, 1))) == 0).all()

    @pytest.mark.parametrize("channels", [1, 3])
    def test_a_mean_of_another_size_is_resized(self, transformer, channels):
        mean = 255 * RNG.random((channels, 8, 10))
        transformer.set_mean("data", mean)
        halved = mean.reshape(channels, 4, 2, 5, 2).mean((2, 4))
        blob = transformer.preprocess("data", np.zeros((4, 5, 3)))
        np.testing.assert_allclose(blob, np.broadcast_to(-halved, (3, 4, 5)), rtol=1e-5)

    def test_a_constant_mean_of_another_size_stays_constant(self, transformer):
        transformer.set_mean("data", np.full((3, 8, 10), 7))
        assert (transformer.preprocess("data", np.zeros((4, 5, 3))) == -7).all()

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((2,), "Mean channels incompatible with input."),
            ((2, 256, 256), r"Mean shape incompatible with input shape\. .* 2 x 256 x 256, the input 3 x 4 x 5: "),
            ((4, 5), "Mean shape incompatible with input shape."),
            ((1, 3, 4, 5), "Mean shape invalid"),
        ],
    )
    def test_means_that_do_not(self, transformer, shape, message):
        with pytest.raises(ValueError, match=message):
            transformer.set_mean("data", np.zeros(shape))

    def test_orders_of_another_length(self, transformer):
        with pytest.raises(Exception, match="Transpose order needs to have the same number of dimensions"):
            transformer.set_transpose("data", (1, 0))
        with pytest.raises(Exception, match="Channel swap needs to have the same number of dimensions"):
            transformer.set_channel_swap("data", (1, 0))

    @pytest.mark.parametrize(
        ("method", "value"),
        [
            ("set_transpose", (2, 0, 1)),
            ("set_channel_swap", (2, 1, 0)),
            ("set_raw_scale", 1),
            ("set_mean", np.zeros(3)),
            ("set_input_scale", 1),
            ("preprocess", np.zeros((4, 5, 3))),
            ("deprocess", np.zeros((3, 4, 5))),
        ],
    )
    def test_unknown_inputs(self, transformer, method, value):
        with pytest.raises(Exception, match="labels is not one of the net inputs"):
            getattr(transformer, method)("labels", value)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_load_image_leaves_pictures_of_any_kind_as_they_are_stored(kind, orientation, tmp_path):
    pixels = np.random.default_rng(orientation).integers(0, 256, (4, 6, 3), np.uint8)
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(pixels).save(tmp_path / f"x.{kind}", exif=exif, **({"lossless": True} if kind == "webp" else {}))
    np.testing.assert_array_equal(caffe.io.load_image(tmp_path / f"x.{kind}") * 255, pixels)
