"""A small training with every source of chance there is, to be stopped and resumed."""

import shutil
from pathlib import Path

FILES = Path(__file__).resolve().parent.parent / "conformance" / "files"
LAST = 12

# every source of chance and of position there is: shuffle, crop, mirror, a second list at TEST, dropout, noise
NET = """
layer { name: 'data' type: 'ImageData' top: 'data' top: 'label' include { phase: TRAIN }
  transform_param { crop_size: 27 mirror: true mean_value: 110 scale: 0.02 }
  image_data_param { source: 'train.txt' root_folder: './' batch_size: 5 shuffle: true new_height: 32 new_width: 32 } }
layer { name: 'data' type: 'ImageData' top: 'data' top: 'label' include { phase: TEST }
  transform_param { crop_size: 27 mirror: true mean_value: 110 scale: 0.02 }
  image_data_param { source: 'test.txt' root_folder: './' batch_size: 3 new_height: 32 new_width: 32 } }
layer { name: 'noise' type: 'DummyData' top: 'noise'
  dummy_data_param { shape { dim: 6 } data_filler { type: 'gaussian' std: 0.1 } } }
layer { name: 'conv' type: 'Convolution' bottom: 'data' top: 'conv'
  convolution_param { num_output: 6 kernel_size: 5 stride: 2 weight_filler { type: 'msra' } } }
layer { name: 'relu' type: 'ReLU' bottom: 'conv' top: 'conv' }
layer { name: 'norm' type: 'BatchNorm' bottom: 'conv' top: 'norm' }
layer { name: 'pool' type: 'Pooling' bottom: 'norm' top: 'pool' pooling_param { kernel_size: 3 stride: 2 } }
layer { name: 'fc1' type: 'InnerProduct' bottom: 'pool' top: 'fc1'
  inner_product_param { num_output: 16 weight_filler { type: 'xavier' } } }
layer { name: 'drop' type: 'Dropout' bottom: 'fc1' top: 'fc1' }
layer { name: 'fc2' type: 'InnerProduct' bottom: 'fc1' top: 'fc2'
  inner_product_param { num_output: 6 weight_filler { type: 'gaussian' std: 0.1 } } }
layer { name: 'noisy' type: 'Bias' bottom: 'fc2' bottom: 'noise' top: 'out' bias_param { axis: 1 } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'out' bottom: 'label' top: 'loss' }
"""
SIGNAL = "layer { name: 'signal' type: 'Python' bottom: 'loss' python_param { module: 'signalling' layer: 'Signal' } }"

KINDS = {
    "SGD": "type: 'SGD' momentum: 0.9 lr_policy: 'multistep' stepvalue: 3 stepvalue: 5 gamma: 0.5 weight_decay: 0.01",
    "Nesterov": "type: 'Nesterov' momentum: 0.9 lr_policy: 'poly' power: 0.5 iter_size: 2",
    "AdaGrad": "type: 'AdaGrad' lr_policy: 'inv' gamma: 0.1 power: 0.75 clip_gradients: 1",
    "RMSProp": "type: 'RMSProp' rms_decay: 0.9 lr_policy: 'step' stepsize: 4 gamma: 0.1",
    "AdaDelta": "type: 'AdaDelta' momentum: 0.95 delta: 1e-6 lr_policy: 'fixed' snapshot_format: HDF5",
    "Adam": "type: 'Adam' momentum: 0.9 lr_policy: 'exp' gamma: 0.95 regularization_type: 'L1' weight_decay: 0.001",
}
COMMON = (
    "net: 'net.prototxt' base_lr: 0.01 max_iter: {last} test_iter: 2 test_interval: 3 display: 1 solver_mode: CPU "
    "random_seed: 3 snapshot_prefix: 'snap'\n"
)

# sends this process a signal in the forward pass of one iteration, as the environment says: "SIGTERM 5"
SIGNALLING = """
import os
import signal
import caffe

class Signal(caffe.Layer):
    def setup(self, bottom, top):
        self.passes = 0
    def reshape(self, bottom, top):
        pass
    def forward(self, bottom, top):
        name, _, at = os.environ.get("TEST_SIGNAL", "").partition(" ")
        if self.phase == caffe.TRAIN and name and self.passes == int(at):
            os.kill(os.getpid(), signal.Signals[name])
        self.passes += 1
    def backward(self, top, propagate_down, bottom):
        pass
"""


def experiment(folder, kind, more="", signals=False):
    """A folder with pictures, net and solver."""
    shutil.copytree(FILES / "images", folder / "images")
    for name in ("train.txt", "test.txt"):
        shutil.copy(FILES / name, folder)
    (folder / "net.prototxt").write_text(NET + (SIGNAL if signals else ""))
    (folder / "solver.prototxt").write_text(f"{COMMON.format(last=LAST)}{KINDS[kind]} {more}")
    (folder / "signalling.py").write_text(SIGNALLING)
    return folder
