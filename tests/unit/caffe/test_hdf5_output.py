"""HDF5Output: the file's data sets, one batch to a file, and what is refused."""

import h5py
import numpy as np
import pytest

from caffe.errors import CaffeError
from helpers.layer_checks import build, input_layer, layer, values


def net_of(path, data=(3, 2, 4), label=(3,)):
    inputs = input_layer("data", data) + input_layer("label", label)
    return build(
        inputs + layer("out", "data label", "", f"type: 'HDF5Output' hdf5_output_param {{ file_name: '{path}' }}")
    )


def test_a_batch_becomes_two_data_sets_of_four_axes(tmp_path):
    path = tmp_path / "out.h5"
    path.write_text("of an earlier run")
    net = net_of(path)
    with h5py.File(path) as file:
        assert list(file) == []
    net.blobs["data"].data[...], net.blobs["label"].data[...] = values(1, (3, 2, 4)), [5, 6, 7]
    net.forward()
    with h5py.File(path) as file:
        assert {name: (file[name].dtype, file[name].shape) for name in file} == {
            "data": (np.float32, (3, 2, 4, 1)),
            "label": (np.float32, (3, 1, 1, 1)),
        }
        np.testing.assert_array_equal(file["data"][..., 0], values(1, (3, 2, 4)))
        np.testing.assert_array_equal(file["label"][:].ravel(), [5, 6, 7])
    net.backward()
    with pytest.raises(CaffeError, match="Failed to make float dataset data.*'out'"):
        net.forward()
    with h5py.File(path) as file:
        assert len(file["data"]) == 3


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(CaffeError, match="Failed to open HDF5 file.*absent.*'out'"):
        net_of(tmp_path / "absent" / "out.h5")
    with pytest.raises(CaffeError, match="same batch size: 3 and 2"):
        net_of(tmp_path / "out.h5", label=(2,)).forward()
    with pytest.raises(CaffeError, match="up to 4 axes.*'out'"):
        net_of(tmp_path / "out.h5", data=(3, 1, 1, 1, 1)).forward()
