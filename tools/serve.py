"""Show the sentiment of images on a web page: drop one, see the prediction, how the ten crops agree, and the map.

    python tools/serve.py                          then open http://127.0.0.1:8000
    python tools/serve.py --port 9000 --runs runs/demo
    python tools/serve.py --model deploy.prototxt --weights any.caffemodel

The page lists every trained network below the folder of runs, the demo's too; networks trained meanwhile appear.
Uploaded images are not kept. Only this machine can reach the page, unless --host says otherwise. Ctrl-C ends it.
"""

import logging
import sys
from pathlib import Path

from sentiment.cli import arguments, command
from sentiment.data import dataset, image_files
from sentiment.data.means import mean_for
from sentiment.evaluation.network import Network
from sentiment.utils.errors import UserError
from sentiment.utils.files import default

LOOPBACK = "127.0.0.1"
DATA = "data/deepsent", "data/demo"


def main(argv=None):
    """Serve until Ctrl-C."""
    parser = arguments.Parser(__doc__)
    option = parser.add_argument
    arguments.folder_options(option, "runs")
    use = f"folders of further data sets, for the galleries (besides {' and '.join(DATA)})"
    option("--data", nargs="+", type=Path, default=[], metavar="FOLDER", help=use)
    arguments.net_options(option)
    option("--host", default=LOOPBACK, help="IPv4 address to listen on, 0.0.0.0 for all (default: %(default)s)")
    option("--name", nargs="+", default=[], help="further host names to answer to, as 192.168.1.5 or my.machine")
    port = arguments.whole_number(0, 65535)
    option("--port", type=port, default=8000, help="port to listen on, 0 for any free one (default: %(default)s)")
    arguments.gpu_option(option)
    args = parser.parse_args(argv)
    arguments.other_net(parser, args, (), ("weights", "mean"))
    try:
        from waitress import create_server

        from sentiment.web import server
    except ImportError as error:
        raise UserError(
            f"the page needs Flask and waitress ({error}); run `pip install flask waitress` in .venv"
        ) from error

    given = [Network.of_files(args.model, args.weights, mean_for(args.weights, args.mean))] if args.model else []
    for folder in args.data:
        if not folder.is_dir():
            print(f"DATA: no folder {folder}, so no gallery of its images", file=sys.stderr)
    folders = dict.fromkeys([*args.data, *map(default, DATA)])
    data = [dataset.load(folder) for folder in folders if folder.is_dir()]
    models = server.Models(args.runs, given, data, args.gpu)
    if not models.all():
        raise UserError(
            f"{args.runs} holds no trained network; run `make fold` or `make demo`, or give --model and --weights"
        )
    try:
        # Uploads stay in memory. Those a little too large are read, so that the answer can say so.
        listening = create_server(
            server.create_app(models, [*server.names_of(args.host), *args.name]),
            host=args.host,
            port=args.port,
            connection_limit=20,
            inbuf_overflow=3 * image_files.MAX_BYTES,
            max_request_body_size=2 * image_files.MAX_BYTES,
        )
    except (OSError, ValueError) as error:  # ValueError: the name is no host's
        raise UserError(
            f"cannot listen on {args.host} port {args.port} ({error}); choose others with --host and --port"
        ) from error
    if args.host not in (LOOPBACK, "localhost"):
        print("Anyone who reaches this machine over the network can use this page.", file=sys.stderr)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a gallery's images may wait a moment
    address = LOOPBACK if args.host == "0.0.0.0" else args.host
    print(f"http://{address}:{listening.effective_port} - Ctrl-C ends it", flush=True)
    listening.run()


if __name__ == "__main__":
    raise SystemExit(command.run(main))
