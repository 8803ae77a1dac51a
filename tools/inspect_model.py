"""Show what a file of weights is: its generation, its layers, its last layer, and what can start from it.

    python tools/inspect_model.py any.caffemodel
    python tools/inspect_model.py snapshot_iter_60.caffemodel.h5
    python tools/inspect_model.py caffenet-9.onnx

A file is identified by its content, never by its name: a model card is shown where its published checksum is the
file's. Of an ONNX, Core ML, PyTorch or caffe-tensorflow file the .caffemodel that it is converted to is shown.
"""

from pathlib import Path

from sentiment import engine
from sentiment.cli import arguments, command
from sentiment.networks import weights_files
from sentiment.sources import cards, foreign
from sentiment.sources.download import DIGITS
from sentiment.utils.files import digests
from sentiment.utils.progress import patience


def main(argv=None):
    """Inspect."""
    parser = arguments.Parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="files of weights")
    args = parser.parse_args(argv)
    engine.start()
    each = command.OneByOne()
    for path in args.files:
        with each, patience(f"reading {path}"):
            print("\n".join(lines(weights_files.read(foreign.caffemodel(path)))), flush=True)
    return each.status


def lines(found):
    """The description of a `WeightsFile`, line by line."""
    checksums = digests(found.path, *DIGITS)
    known = ", ".join(cards.known_as(found.path)) or cards.identity(checksums)
    parameters = sum(layer.parameters for layer in found.learned)
    yield str(found.path)
    yield f"  format      {found.generation} ({weights_files.GENERATIONS[found.generation]})"
    yield f"  size        {found.path.stat().st_size:,} bytes, {parameters:,} weights and biases"
    yield f"  SHA-256     {checksums['sha256']}"
    yield f"  known as    {known or 'no model card of models/ has this content'}"
    if found.name:
        yield f"  net         {found.name}"
    yield f"  layers      {len(found.layers)}, {len(found.learned)} of them with weights"
    width = max(len(layer.name) for layer in found.learned)
    for layer in found.learned:
        yield f"    {layer.name:{width}}  {weights_files.shapes_text(layer.shapes)}  {layer.type}".rstrip()
    last = f"{found.last.name}, {found.last.outputs} outputs" if found.last else "unknown: HDF5 keeps no order"
    yield f"  last layer  {last}"
    problems = weights_files.fits(found)
    fitting = " ".join(arch for arch, problem in problems.items() if not problem)
    divided = f", with channels_divisor: {found.divisor} in the data set's dataset.yaml" if found.divisor > 1 else ""
    yield f"  fits        {f'ARCH={fitting}{divided}' if fitting else 'none of the architectures'}"
    yield from (f"    not {arch}: {problem}" for arch, problem in problems.items() if problem)


if __name__ == "__main__":
    raise SystemExit(command.run(main))
