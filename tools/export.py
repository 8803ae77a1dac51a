"""Export a network from Caffe: as an ONNX model, and its weights as a PyTorch state dict in safetensors form.

    python tools/export.py --init caffenet
    python tools/export.py --model deploy_conv.prototxt --weights snapshot_iter_60_conv.caffemodel --out exported

Writes <weights>.onnx and <weights>.safetensors beside the weights, or into --out, once every blob that onnxruntime
computes equals Caffe's. The ONNX model takes any number of images, BGR minus mean, in the size of the definition. For a
run, the model's metadata name the mean and the classes.
"""

import os
from pathlib import Path

from sentiment import engine
from sentiment.cli import arguments, command
from sentiment.evaluation.network import Network
from sentiment.networks import transfer
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import replacing
from sentiment.utils.progress import patience


def main(argv=None):
    """Export."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder to write to (default: the weights' own)")
    run_group, net_group = map(parser.add_argument_group, ("a run of tools/train.py", "any other net"))
    arguments.runs_options(run_group.add_argument, several=())
    arguments.net_options(net_group.add_argument, mean=False)
    args = parser.parse_args(argv)
    arguments.other_net(parser, args, run_group, net_group)
    try:
        import onnx
        from safetensors.numpy import save

        from sentiment.networks import onnx_export
    except ImportError as error:
        raise UserError(f"exporting needs {error.name}; `pip install onnx onnxruntime safetensors` in .venv") from error

    model, weights, metadata = args.model, args.weights, {}
    if not model:
        run = Network.of_run(arguments.run_of(args))
        model, weights = run.deploy, run.weights
        means = ",".join(f"{mean:.9g}" for mean in run.means)
        metadata = {
            "title": f"{run.title}, {run.group}",
            "input": f"BGR, 0 to 255, minus the means {means}",
            "classes": "negative,positive",
        }
    caffe = engine.start()
    with stderr_to(os.devnull) as terminal, patience(f"reading {weights}", terminal):
        net = transfer.load(caffe, model, weights)
    with patience("exporting, and comparing each blob of onnxruntime with Caffe's"):
        exported, tensors = onnx_export.export(net, str(model), metadata)
        difference = onnx_export.largest_difference(net, exported, tensors)
    state = onnx_export.state_dict(net)
    out = args.out or weights.parent
    paths = out / f"{weights.stem}.onnx", out / f"{weights.stem}.safetensors"
    with replacing(paths[0]) as of_model, replacing(paths[1]) as of_state:
        onnx.save(exported, of_model)
        of_state.write_bytes(save(state, {"format": "pt", **metadata}))
    print(f"{paths[0]}: every blob equals Caffe's within {difference:.1g} of its largest value")
    print(f"{paths[1]}: {len(state)} arrays")


if __name__ == "__main__":
    raise SystemExit(command.run(main))
