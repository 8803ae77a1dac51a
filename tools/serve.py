"""Show the sentiment of pictures on a web page: drop one, see what the net says, how the crops agree, and the map.

    python tools/serve.py                          then open http://127.0.0.1:8000
    python tools/serve.py --port 9000 --runs runs/demo
    python tools/serve.py --model deploy.prototxt --weights any.caffemodel

The page lists every trained network below the folder of runs, the demo's too; what is trained meanwhile appears.
Nothing that is sent is kept. Only this machine can reach the page, unless --host says otherwise. Ctrl-C ends it.
"""

import logging
import sys
from pathlib import Path

from sentiment.cli import command
from sentiment.cli.arguments import Parser, gpu_option
from sentiment.data import dataset, image_files
from sentiment.evaluation import trained
from sentiment.sources import cards
from sentiment.utils.errors import UserError
from sentiment.utils.files import default
from sentiment.web import server

LOOPBACK = "127.0.0.1"
USUAL = "data/deepsent", "data/demo"


def main(argv=None):
    """Serve until Ctrl-C; returns the exit status."""
    parser = Parser(__doc__)
    option = parser.add_argument
    option("--runs", type=Path, default=default("runs"), help="folder of all runs (default: %(default)s)")
    option(
        "--data",
        nargs="+",
        type=Path,
        default=[],
        help="folders of further data sets, for the galleries (data/deepsent and data/demo are looked for)",
    )
    option("--model", type=Path, help="deploy definition of one more net")
    option("--weights", type=Path, help="its .caffemodel")
    option("--mean", help="its mean file, or b,g,r (default: the ImageNet means)")
    option("--host", default=LOOPBACK, help="IPv4 address to listen on, 0.0.0.0 for all (default: %(default)s)")
    option("--name", nargs="+", default=[], help="further host names to answer to, as 192.168.1.5 or my.machine")
    option("--port", type=int, default=8000, help="0 takes any free one (default: %(default)s)")
    gpu_option(option)
    args = parser.parse_args(argv)
    if bool(args.model) != bool(args.weights):
        parser.error("--model and --weights go together")
    if not args.model:
        parser.refuse(["mean"], "is of --model, which is not given")
    if not 0 <= args.port < 1 << 16:
        parser.error("--port must be below 65536")

    given = [trained.of_files(args.model, args.weights, cards.mean_for(args.weights, args.mean))] if args.model else []
    for folder in args.data:
        if not folder.is_dir():
            print(f"DATA: no folder {folder}, so no gallery of its pictures", file=sys.stderr)
    folders = dict.fromkeys([*args.data, *map(default, USUAL)])
    data = [dataset.load(folder) for folder in folders if folder.is_dir()]
    models = server.Models(args.runs, given, data, args.gpu)
    if not models.all():
        raise UserError(
            f"{args.runs} holds no trained network; `make fold` or `make demo` trains some, or give --model and "
            "--weights"
        )
    serve(models, args.host, args.port, args.name)
    return 0


def serve(models, host, port, names):
    """Listen until Ctrl-C."""
    try:
        from waitress import create_server

        app = server.create_app(models, [*server.names_of(host), *names])
    except ImportError as error:
        raise UserError(
            f"the page needs Flask and waitress ({error}); `pip install flask waitress` in .venv"
        ) from error
    try:
        # Uploads stay in memory. Those a little too large come through to be told so in a sentence.
        listening = create_server(
            app,
            host=host,
            port=port,
            connection_limit=20,
            inbuf_overflow=3 * image_files.MAX_BYTES,
            max_request_body_size=2 * image_files.MAX_BYTES,
        )
    except (OSError, ValueError) as error:  # the second of a name that is no host's
        raise UserError(
            f"cannot listen on {host} port {port} ({error}); choose others with --host and --port"
        ) from error
    if host not in (LOOPBACK, "localhost"):
        print("Anyone who reaches this machine over the network can use this page.", file=sys.stderr)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a gallery's pictures may wait a moment
    print(f"http://{LOOPBACK if host == '0.0.0.0' else host}:{listening.effective_port} - Ctrl-C ends it", flush=True)
    listening.run()


if __name__ == "__main__":
    sys.exit(command.run(main))
