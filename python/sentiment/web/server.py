"""The web page's server: which networks there are, the sentiment of an uploaded image, a network's best and worst.

Nothing that is uploaded is written anywhere. All computing happens on one thread, which keeps the networks it has
loaded; a BVLC Caffe's mode holds for one thread only, so it is set there too.
"""

import functools
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flask import Flask, abort, jsonify, request, send_file
from werkzeug.exceptions import HTTPException, NotFound, RequestEntityTooLarge, SecurityError

from sentiment import paper
from sentiment.data import image_files
from sentiment.data.dataset import Dataset
from sentiment.evaluation import predictions, trained
from sentiment.evaluation.predictor import Predictor
from sentiment.utils.errors import UserError, sentence_of

WEB = Path(__file__).parent
KEPT = 2  # networks in memory; a CaffeNet and its map's network take 0.5 GB
IN_GALLERY = 6  # images of each kind

# The page loads nothing from other hosts, and no other page may put it in a frame.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
REFUSALS = {
    SecurityError: "this server does not answer to that name; start it with --name and the name to allow it",
    RequestEntityTooLarge: f"the image is larger than {image_files.MAX_BYTES // 1_000_000} MB; save it smaller",
}


class Models:
    """The trained networks to choose from, and the thread that computes with them, on a GPU or (None) the CPU.

    The folder of runs is searched again for every request: runs that are trained meanwhile appear. ``given`` are
    further networks, ``data`` the data sets whose images the galleries show.
    """

    def __init__(self, runs: Path, given=(), data: Sequence[Dataset] = (), gpu: int | None = None):
        self._runs, self._given = Path(runs), list(given)
        self._data = {one.name: one for one in data}
        self._thread = ThreadPoolExecutor(1)

        @functools.lru_cache(KEPT)
        def load(model, modified):  # a run may be trained again under the same name
            return Predictor(model, gpu)

        self._load = load

    def all(self) -> list[trained.Trained]:
        """Every network, those given first."""
        return [*self._given, *trained.find(self._runs)]

    def get(self, key: str) -> trained.Trained:
        """The network of that key; NotFound if there is none."""
        for model in self.all():
            if model.key == key:
                return model
        raise NotFound(f"there is no trained network {key!r} (any more); reload the page")

    def predict(self, model: trained.Trained, data: bytes) -> dict:
        """The prediction and map of an uploaded image, as the page's script takes them."""
        return self._thread.submit(self._predict, model, data).result()

    def _predict(self, model, data):
        pixels = image_files.decode(data)
        predictor = self._load(model, model.weights.stat().st_mtime_ns)
        prediction = predictor.predict(pixels)
        try:
            places, problem = predictor.map(pixels)[paper.POSITIVE].tolist(), None
        except UserError as error:
            places, problem = None, str(error)
        return {
            "sentiment": prediction.sentiment,
            "positive": prediction.positive,
            "center": prediction.center,
            "crops": prediction.crops.tolist(),
            "agreeing": prediction.agreeing,
            "map": places,
            "map_problem": problem,
        }

    def gallery(self, model) -> dict:
        """The test images that a run's network is most certain of, right ones (``best``) and wrong ones (``worst``).

        Each has a name, a label and P(positive). Where there are none, ``problem`` says why.
        """
        if problem := self._no_gallery(model):
            return {"problem": problem}
        tested = predictions.read(model.run.predictions)
        kinds = {"best": [], "worst": []}
        for one in sorted(tested, key=lambda one: -abs(one.oversampled - 0.5)):
            row = {"name": one.image, "label": one.label, "positive": one.oversampled}
            kinds["best" if one.is_right("oversampled") else "worst"].append(row)
        shown = {kind: rows[:IN_GALLERY] for kind, rows in kinds.items()}
        return {**shown, "right": len(kinds["best"]), "tested": len(tested)}

    def image(self, model, name: str) -> Path:
        """The path of a test image of a run; NotFound for any other."""
        if not self._no_gallery(model):
            folder = self._data[model.dataset].images.resolve()
            path = (folder / name).resolve()
            tested = {one.image for one in predictions.read(model.run.predictions)}
            if name in tested and path.is_relative_to(folder) and path.is_file():
                return path
        raise NotFound(f"{name!r} is not a test image of this network")

    def _no_gallery(self, model):
        """Why a network has no gallery; None if it has one."""
        if not model.run:
            return "A network given by its files has no test images."
        if model.dataset not in self._data:
            return f"The images of {model.dataset} are not here; start the server with --data and their folder."
        if not model.run.predictions.is_file():
            command = model.run.command("evaluate", self._data[model.dataset].folder)
            return f"This network is not tested yet; run `{command}`."
        return None


def names_of(host: str) -> list[str]:
    """The names under which browsers reach a server that listens on an address (IPv4 or a name)."""
    names = {host, "localhost", "127.0.0.1"}
    if host == "0.0.0.0":  # every address this machine has
        own = socket.gethostname()
        names |= {
            own,
            socket.getfqdn(),
            *(str(address[4][0]) for address in socket.getaddrinfo(own, None, socket.AF_INET)),
        }
    return sorted(names)


def create_app(models: Models, hosts: Iterable[str]) -> Flask:
    """The page and what its script asks for, as a Flask application.

    It answers to the names in ``hosts`` only: a foreign page's name may lead here (DNS rebinding).
    """
    app = Flask("sentiment", static_folder=WEB, static_url_path="/static")
    app.config.update(MAX_CONTENT_LENGTH=image_files.MAX_BYTES, TRUSTED_HOSTS=list(hosts))

    def model():
        return models.get(request.args.get("model", ""))

    @app.get("/")
    def page():
        return send_file(WEB / "index.html")

    @app.get("/api/models")
    def list_models():
        return jsonify([model.summary() for model in models.all()])

    @app.post("/api/predict")
    def predict():
        # Pages of other origins cannot send these types without asking first, and get no permission.
        if request.mimetype not in image_files.MIME_TYPES:
            abort(415, "only JPEG, PNG and WebP images are accepted")
        return jsonify(models.predict(model(), request.get_data()))

    @app.get("/api/gallery")
    def gallery():
        return jsonify(models.gallery(model()))

    @app.get("/api/image")
    def image():
        return send_file(models.image(model(), request.args.get("name", "")))

    @app.errorhandler(HTTPException)
    def refused(error):
        return jsonify(error=REFUSALS.get(type(error), error.description)), error.code

    @app.errorhandler(Exception)
    def failed(error):
        if sentence := sentence_of(error):
            return jsonify(error=sentence), 400
        app.logger.exception("%s %s", request.method, request.path)
        return jsonify(error="the server failed; its terminal shows why"), 500

    @app.after_request
    def secure(response):
        response.headers.update(HEADERS)
        return response

    return app
