"""Products of matrices are those of float64 up to rounding, by either library, for matrices in any layout."""

import pytest
import torch

from caffe.runtime import products

SIZES = [(3, 5, 7), (0, 5, 7), (1, 4096, 2048), (32, 2048, 512), (513, 300, 129)]  # of both libraries


def matrix(*shape, layout="rows"):
    """Random float32 values, or a view with these values in memory of another layout."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    if layout == "columns":
        return x.t().contiguous().t()
    return torch.cat([x, x], -1)[..., : shape[-1]] if layout == "part of rows" else x


@pytest.mark.parametrize("layout", ["rows", "columns", "part of rows"])
@pytest.mark.parametrize("size", SIZES)
def test_products_are_float64s_up_to_rounding(size, layout):
    n, k, m = size
    x, weight, bias = matrix(n, k, layout=layout), matrix(m, k, layout=layout), matrix(m)
    wanted = x.double() @ weight.double().t()
    near = dict(rtol=0, atol=1e-5 * k**0.5)  # of sums whose standard deviation is the root
    torch.testing.assert_close(products.linear(x, weight).double(), wanted, **near)
    torch.testing.assert_close(products.linear(x, weight, bias).double(), wanted + bias.double(), **near)
    torch.testing.assert_close(products.product(x, weight.t()).double(), wanted, **near)


@pytest.mark.parametrize("size", SIZES[2:])
def test_infinity_and_nan_reach_their_row_only(size):
    n, k, m = size
    x, weight = matrix(n, k), matrix(m, k)
    x[0, 1] = torch.inf
    weight[2, 1] = 0
    weight[3, 0] = torch.nan
    found = products.linear(x, weight)
    assert found[:, 3].isnan().all()
    assert found[0, 2].isnan()  # inf · 0
    assert found[0, :2].isinf().all()
    assert found[1:, :3].isfinite().all()


def test_reduced_precision_and_other_devices_are_left_to_torch():
    x, weight = matrix(32, 2048), matrix(512, 2048)
    assert products.linear(x.bfloat16(), weight.bfloat16()).dtype == torch.bfloat16
    assert products.linear(x.to("meta"), weight.to("meta")).shape == (32, 512)
