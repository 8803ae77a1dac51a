"""Take a network out of Caffe: as an ONNX model, and its weights as a PyTorch state dict in safetensors form.

    python tools/export.py --init caffenet
    python tools/export.py --model deploy_conv.prototxt --weights snapshot_iter_60_conv.caffemodel --out exported

Writes <weights>.onnx and <weights>.safetensors beside the weights, or into --out. Before anything is written,
onnxruntime has to answer as Caffe does. The ONNX model takes any number of images, BGR minus mean, in the size of the
definition; its metadata say which mean and which classes, where a run knows them.
"""

import argparse
import os
import sys
from pathlib import Path

from sentiment import cards, console, engine, nets, onnx_export, paper, solvers, surgery, trained
from sentiment.console import UserError
from sentiment.files import replacing
from sentiment.logs import stderr_to
from sentiment.runs import Run, variant


def main(argv=None):
    """Export; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder to write to (default: the weights' own)")
    option = parser.add_argument_group("which run of tools/train.py").add_argument
    option("--runs", type=Path, default=Path("runs"), help="folder of all runs (default: %(default)s)")
    option("--subset", choices=paper.SUBSETS, default="five_agrees")
    option("--fold", type=int, choices=paper.FOLDS, default=1)
    option("--arch", choices=nets.ARCHITECTURES, default="finetune")
    option("--init", default="caffenet", help="as for train.py, or a run's own name (default: %(default)s)")
    option("--variant", default="", metavar="WORD", help="as for train.py")
    option("--seed", type=int, default=solvers.DEFAULT_SEED, help="as for train.py (default: %(default)s)")
    option = parser.add_argument_group("any other net").add_argument
    option("--model", type=Path, help="deploy definition")
    option("--weights", type=Path, help=".caffemodel")
    args = parser.parse_args(argv)
    if bool(args.model) != bool(args.weights):
        parser.error("--model and --weights go together")
    try:
        import onnx
        import onnxruntime  # noqa: F401 - for the check
        from safetensors.numpy import save
    except ImportError as error:
        raise UserError(f"exporting needs {error.name}; `pip install onnx onnxruntime safetensors` in .venv") from error

    model, weights, metadata = chosen(args)
    caffe = engine.start()
    with stderr_to(os.devnull):
        net = surgery.load(caffe, model, weights)
    exported, tensors = onnx_export.export(net, str(model), metadata)
    difference = onnx_export.largest_difference(net, exported, tensors)
    state = onnx_export.state_dict(net)
    out = args.out or weights.parent
    paths = out / f"{weights.stem}.onnx", out / f"{weights.stem}.safetensors"
    with replacing(paths[0]) as of_model, replacing(paths[1]) as of_state:
        onnx.save(exported, of_model)
        of_state.write_bytes(save(state, {"format": "pt", **metadata}))
    print(f"{paths[0]}: every blob is as Caffe's, to {difference:.1g} of its largest value")
    print(f"{paths[1]}: {len(state)} arrays")
    return 0


def chosen(args):
    """Definition and weights, and what a run knows of them."""
    if args.model:
        return args.model, args.weights, {}
    init = cards.resolve(args.init).name if Path(args.init).is_file() else args.init
    net = trained.of_run(Run(args.runs, args.subset, args.arch, init, args.fold, variant(args.variant, args.seed)))
    means = ",".join(f"{mean:.9g}" for mean in net.means)
    about = {"title": f"{net.title}, {net.group}", "input": f"BGR, 0 to 255, minus the means {means}"}
    return net.deploy, net.weights, {**about, "classes": "negative,positive"}


if __name__ == "__main__":
    sys.exit(console.run(main))
