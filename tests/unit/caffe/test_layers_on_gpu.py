"""Every layer in GPU mode against its plain reference: the property tests of the layers' families once more."""

import importlib.util
from pathlib import Path

import pytest

FAMILIES = ("layers", "loss_layers", "structure_layers", "recurrent", "fork_layers")


def properties(family):
    """The property tests in a family's file, by their names."""
    path = Path(__file__).with_name(f"test_{family}.py")
    spec = importlib.util.spec_from_file_location(f"{path.stem}_on_gpu", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name: test for name, test in vars(module).items() if hasattr(test, "hypothesis")}


for family in FAMILIES:
    globals().update(properties(family))

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def gpu(on_gpu):
    on_gpu()
