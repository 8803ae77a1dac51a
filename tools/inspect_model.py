"""Say what a file of weights is: its generation, its layers, its last layer, and what can start from it.

    python tools/inspect_model.py any.caffemodel
    python tools/inspect_model.py snapshot_iter_60.caffemodel.h5

A file is known by its content, never by its name: a card of models/ is named where its published digest is the file's.
"""

import sys
from pathlib import Path

from sentiment import engine
from sentiment.cli import command
from sentiment.cli.arguments import Parser
from sentiment.networks import inspection
from sentiment.sources import cards
from sentiment.utils.files import sha256
from sentiment.utils.progress import patience


def main(argv=None):
    """Inspect; returns the exit status."""
    parser = Parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="file")
    args = parser.parse_args(argv)
    engine.start()
    each = command.OneByOne()
    for path in args.files:
        with each, patience(f"reading {path}"):
            print("\n".join(lines(inspection.read(path))), flush=True)
    return each.status


def lines(model):
    """What there is to say of a file, line by line."""
    known = cards.known_as(model.path)
    parameters = sum(layer.parameters for layer in model.learned)
    yield str(model.path)
    yield f"  format      {model.generation} ({inspection.GENERATIONS[model.generation]})"
    yield f"  size        {model.path.stat().st_size:,} bytes, {parameters:,} weights and biases"
    yield f"  SHA-256     {sha256(model.path)}"
    yield f"  known as    {', '.join(known) or 'no card of models/ has this content'}"
    if model.name:
        yield f"  net         {model.name}"
    yield f"  layers      {len(model.layers)}, {len(model.learned)} of them with weights"
    width = max(len(layer.name) for layer in model.learned)
    for layer in model.learned:
        yield f"    {layer.name:{width}}  {inspection.shapes_text(layer.shapes)}  {layer.type}".rstrip()
    yield f"  last layer  {last_layer(model.last)}"
    found = inspection.fits(model)
    divided = f", with channels_divisor: {model.divisor} in the data set's dataset.yaml" if model.divisor > 1 else ""
    fitting = [arch for arch, problem in found.items() if not problem]
    yield f"  fits        {'ARCH=' + ' '.join(fitting) + divided if fitting else 'none of the architectures'}"
    for arch, problem in found.items():
        if problem:
            yield f"    not {arch}: {problem}"


def last_layer(layer):
    """A file's last layer in words."""
    if layer is None:
        return "not told: HDF5 keeps no order"
    return f"{layer.name}, {layer.outputs} {'classes' if layer.classifies else 'outputs'}"


if __name__ == "__main__":
    sys.exit(command.run(main))
