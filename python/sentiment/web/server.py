"""The web page's server: a picture in, its sentiment out; which nets there are; a fold's best and worst.

Nothing that is sent is written anywhere. All computing happens on one thread, whose nets are loaded once and kept; a
real Caffe's mode holds for one thread only, so it is set there too.
"""

import functools
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sentiment import paper
from sentiment.data import image_files
from sentiment.evaluation import predictions, trained
from sentiment.evaluation.predictor import Predictor
from sentiment.utils.errors import UserError, sentence_of

WEB = Path(__file__).parent
KEPT = 2  # nets in memory; a CaffeNet and its map's net take 0.5 GB
IN_GALLERY = 6  # pictures of each kind

# Nothing of the page comes from elsewhere, and no other page may put it in a frame.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Absent(Exception):
    """What a request names is not there; the message is a sentence."""


class Models:
    """The trained nets to choose among, and the thread that computes with them.

    Parameters
    ----------
    runs : Path
        The folder of all runs, looked through anew whenever asked: what is trained meanwhile appears.
    given : sequence of trained.Trained
        Further nets.
    data : sequence of dataset.Dataset
        Where the galleries' pictures are.
    gpu : int, optional
        A CUDA card's number.
    """

    def __init__(self, runs, given=(), data=(), gpu=None):
        self._runs, self._given = Path(runs), list(given)
        self._images = {one.name: one.images for one in data}
        self._folders = {one.name: one.folder for one in data}
        self._thread = ThreadPoolExecutor(1)
        # By the weights' time too: a run may be trained anew under the same name.
        self._loaded = functools.lru_cache(KEPT)(lambda model, time: Predictor(model, gpu))

    def all(self):
        """Every net, those given first."""
        return [*self._given, *trained.find(self._runs)]

    def get(self, key):
        """The net of that key; `Absent` where there is none."""
        for model in self.all():
            if model.key == key:
                return model
        raise Absent(f"there is no trained network {key!r} (any more); reload the page")

    def predict(self, model, data):
        """What a net says of an uploaded picture, as the page's script takes it."""
        return self._thread.submit(self._predict, model, data).result()

    def _predict(self, model, data):
        pixels = image_files.decode(data)
        predictor = self._loaded(model, model.weights.stat().st_mtime_ns)
        prediction = predictor.predict(pixels)
        try:
            places, problem = predictor.map(pixels)[paper.POSITIVE].tolist(), None
        except UserError as error:
            places, problem = None, str(error)
        return {
            "word": prediction.word,
            "positive": prediction.positive,
            "center": prediction.center,
            "crops": prediction.crops.tolist(),
            "agreeing": prediction.agreeing,
            "map": places,
            "map_problem": problem,
        }

    def gallery(self, model):
        """The test images that a run's net is surest of: the right ones, and the wrong ones.

        Returns
        -------
        dict
            ``best`` and ``worst``, lists of name, label and positive; or ``problem``, why there are none.
        """
        problem = self._no_gallery(model)
        if problem:
            return {"problem": problem}
        tested = predictions.read(model.run.predictions)
        surest = sorted(tested, key=lambda one: -abs(one.oversampled - 0.5))
        right = [one for one in surest if one.is_right("oversampled")]
        wrong = [one for one in surest if not one.is_right("oversampled")]
        best, worst = (
            [{"name": one.image, "label": one.label, "positive": one.oversampled} for one in kind[:IN_GALLERY]]
            for kind in (right, wrong)
        )
        return {"best": best, "worst": worst, "right": len(right), "tested": len(tested)}

    def image(self, model, name):
        """The path of a test image of a run; `Absent` for any other."""
        if not self._no_gallery(model):
            folder = self._images[model.dataset].resolve()
            path = (folder / name).resolve()
            tested = {one.image for one in predictions.read(model.run.predictions)}
            if name in tested and path.is_relative_to(folder) and path.is_file():
                return path
        raise Absent(f"{name!r} is no test image of this network")

    def _no_gallery(self, model):
        if not model.run:
            return "A network given by its files has no test pictures."
        if model.dataset in self._folders and not model.run.predictions.is_file():
            command = model.run.command("evaluate", self._folders[model.dataset])
            return f"This network is not tested yet: `{command}` does it."
        if model.dataset not in self._images:
            return f"The pictures of {model.dataset} are not here: start the server with --data and their folder."
        return None


def names_of(host):
    """The names under which browsers reach a server that listens on some address (IPv4 or a name)."""
    names = {host, "localhost", "127.0.0.1"}
    if host == "0.0.0.0":  # every address this machine has
        own = socket.gethostname()
        names |= {own, socket.getfqdn()}
        names |= {address[4][0] for address in socket.getaddrinfo(own, None, socket.AF_INET)}
    return sorted(names)


def create_app(models, hosts):
    """The page and what its script asks for, as a Flask application.

    Parameters
    ----------
    models : Models
    hosts : sequence of str
        The names it answers to: a page of another name that leads here (DNS rebinding) gets nothing.
    """
    from flask import Flask, abort, jsonify, request, send_file
    from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, SecurityError

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
        # Pages of other origins cannot send these types without asking first, and are never told yes.
        if request.mimetype not in image_files.MIME_TYPES:
            abort(415, "only JPEG, PNG and WebP pictures are taken")
        return jsonify(models.predict(model(), request.get_data()))

    @app.get("/api/gallery")
    def gallery():
        return jsonify(models.gallery(model()))

    @app.get("/api/image")
    def image():
        return send_file(models.image(model(), request.args.get("name", "")))

    @app.errorhandler(Exception)
    def refused(error):
        if isinstance(error, SecurityError):
            error.description = (
                "this server does not answer to that name; start it with --name and the name to allow it"
            )
        if isinstance(error, RequestEntityTooLarge):
            error.description = f"the picture has more than {image_files.MAX_BYTES // 1_000_000} MB; save it smaller"
        if isinstance(error, HTTPException):
            return jsonify(error=error.description), error.code
        if isinstance(error, Absent):
            return jsonify(error=str(error)), 404
        if sentence := sentence_of(error):
            return jsonify(error=sentence), 400
        app.logger.exception("%s %s", request.method, request.path)
        return jsonify(error="the server failed; its terminal says why"), 500

    @app.after_request
    def secure(response):
        response.headers.update(HEADERS)
        return response

    return app
