"""Make fine-tuned networks fully convolutional: fully connected layers become convolutions (Table 1).

    python tools/net_surgery.py --init mvso_en --fold all
    python tools/net_surgery.py --model deploy.prototxt --weights any.caffemodel --input-size 600
    python tools/net_surgery.py --model prototxt/finetune/deploy.prototxt

Writes <weights>_conv.caffemodel and deploy_conv.prototxt beside the weights (or into --out), and prints the converted
layers as the paper's Table 1 does. Without weights it only prints. A global pooling (of SqueezeNet) becomes a window.
"""

import os
from pathlib import Path

from sentiment import engine
from sentiment.cli import arguments, command
from sentiment.evaluation.network import Network
from sentiment.networks import definitions, surgery, transfer
from sentiment.report import paper_tables
from sentiment.utils import locks
from sentiment.utils.caffe_log import stderr_to
from sentiment.utils.errors import UserError
from sentiment.utils.files import replacing
from sentiment.utils.progress import patience

HEADER = "# Written by tools/net_surgery.py\n"


def main(argv=None):
    """Convert."""
    parser = arguments.Parser(__doc__)
    run_group, net_group = map(parser.add_argument_group, ("runs of tools/train.py", "any other net"))
    arguments.runs_options(run_group.add_argument)
    arguments.net_options(net_group.add_argument, mean=False)
    option = parser.add_argument
    arguments.input_size_option(option)
    option("--out", type=Path, metavar="FOLDER", help="folder to write to (default: the weights' own)")
    args = parser.parse_args(argv)

    arguments.other_net(parser, args, run_group, net_group, ())
    if args.model and not args.weights:
        parser.refuse(["out"], "needs --weights: without them nothing is written")
    networks = () if args.model else [Network.of_run(run) for run in arguments.runs_of(args)]
    shown = None
    for model, weights in [(net.deploy, net.weights) for net in networks] or [(args.model, args.weights)]:
        size = (args.input_size, args.input_size) if args.input_size else None
        conversion = surgery.convert(definitions.read(model), size, where=str(model))
        if conversion != shown:
            shown = conversion
            table = paper_tables.fcn_table(conversion).markdown()
            print(table if conversion.kernels else surgery.describe(conversion), flush=True)
        if weights:
            for path in write(conversion, model, weights, args.out or weights.parent):
                print(path, flush=True)


def write(conversion, model, weights, out):
    """Write weights and definition, both or neither; returns their paths."""
    paths = out / f"{weights.stem}_conv.caffemodel", out / "deploy_conv.prototxt"
    if model.resolve() == paths[1].resolve():
        raise UserError(f"{model} would be overwritten; give another --out")
    caffe = engine.start()
    with stderr_to(os.devnull) as terminal, patience(f"converting {weights}", terminal):
        classifier = transfer.load(caffe, model, weights)
        net = surgery.build(caffe, conversion, classifier)
    with locks.held(out, "net surgery"), replacing(paths[0]) as new_weights, replacing(paths[1]) as new_model:
        net.save(str(new_weights))
        new_model.write_text(HEADER + str(conversion.net))
    return paths


if __name__ == "__main__":
    raise SystemExit(command.run(main))
