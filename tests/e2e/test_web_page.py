"""The web page of tools/serve.py: its server by requests, the page by real clicks and uploads in headless Chromium."""

import io
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import astuple

import numpy as np
import pytest
from PIL import Image

from helpers.commands import refused
from sentiment.data import dataset, image_files
from sentiment.evaluation import predictions
from sentiment.utils.files import read_json, write_json

pytest.importorskip("flask", reason="the page needs Flask, of the optional extra `serve`")
pytest.importorskip("waitress", reason="the page needs waitress, of the optional extra `serve`")

from sentiment.web import server

KEY = "five_agrees/finetune-source/fold1"


@pytest.fixture
def tested(tool, tiny):
    assert tool("train", *tiny.options, "--iterations", 2) == 0
    assert tool("evaluate", *tiny.options) == 0
    return tiny


@pytest.fixture
def app(tested):
    models = server.Models(tested.runs, data=[dataset.load(tested.data)])
    return server.create_app(models, server.names_of("127.0.0.1"))


@pytest.fixture
def client(app):
    return app.test_client()


def post(client, data, kind="image/jpeg", key=KEY):
    return client.post("/api/predict", query_string={"model": key}, data=data, content_type=kind)


def sentence(response, status):
    assert response.status_code == status
    assert list(response.json) == ["error"]
    return response.json["error"]


def test_networks_predictions_and_gallery(client, tested):
    [model] = client.get("/api/models").json
    accuracy = read_json(tested.folder() / "result.json")["accuracy"]["oversampled"]
    assert model == {
        "key": KEY, "title": "finetune from source, fold 1", "group": "tiny, five-agree", "accuracy": accuracy,
        "demo": False,
    }  # fmt: skip
    rows = {row[0]: row for row in [astuple(one) for one in predictions.read(tested.folder() / "predictions.csv")]}
    gallery = client.get("/api/gallery", query_string={"model": KEY}).json
    shown = gallery["best"] + gallery["worst"]
    assert {row["name"] for row in shown} == set(rows)
    assert gallery["right"] == round(accuracy * len(rows)) == len(gallery["best"])
    for row in shown:
        image = client.get("/api/image", query_string={"model": KEY, "name": row["name"]})
        assert image.data == (tested.data / "images" / row["name"]).read_bytes()
        answer = post(client, image.data, image.mimetype).json
        assert answer["positive"] == pytest.approx(rows[row["name"]][3], abs=1e-7)
        assert answer["center"] == pytest.approx(rows[row["name"]][2], abs=1e-7)
        assert np.shape(answer["map"]) == (8, 8)
        same = [(crop > 0.5) == (answer["sentiment"] == "positive") for crop in answer["crops"]]
        assert (len(same), sum(same)) == (10, answer["agreeing"])


def test_refusals_are_sentences(client, tested):
    whole = (tested.data / "images" / "picture 3.jpg").read_bytes()
    assert "no trained network 'x'" in sentence(post(client, whole, key="x"), 404)
    assert "only JPEG" in sentence(post(client, whole, "text/plain"), 415)
    assert "JPEG, PNG or WebP" in sentence(post(client, b"nothing"), 400)
    assert "JPEG, PNG or WebP" in sentence(post(client, b""), 400)
    assert "20 MB" in sentence(post(client, bytes(image_files.MAX_BYTES + 1)), 413)
    assert sentence(client.get("/api/other"), 404)
    for name in ("../dataset.yaml", "picture 99.jpg", "/etc/passwd", ""):
        assert "not a test image" in sentence(client.get("/api/image", query_string={"model": KEY, "name": name}), 404)
    (tested.folder() / "snapshot_iter_2.caffemodel").write_bytes(b"half")
    assert "snapshot_iter_2.caffemodel" in sentence(post(client, whole), 400)


def test_other_names_get_nothing_and_nothing_comes_from_elsewhere(client):
    for path in ("/", "/api/models", "/static/app.js"):
        assert "--name" in sentence(client.get(path, headers={"Host": "evil.example"}), 400)
    page = client.get("/", headers={"Host": "127.0.0.1:8000"})
    assert page.status_code == 200
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    texts = [page.text, *(client.get(f"/static/{name}").text for name in ("app.js", "style.css"))]
    assert not re.search(r"https?://|@import|url\(", "".join(texts))


def test_without_pictures_or_test_the_gallery_says_why(tool, tested):
    client = server.create_app(server.Models(tested.runs), ["localhost"]).test_client()
    models = server.Models(tested.runs, data=[dataset.load(tested.data)])
    gallery = "/api/gallery?model=" + KEY
    assert "start the server with --data" in client.get(gallery).json["problem"]
    (tested.folder() / "predictions.csv").unlink()
    (tested.folder() / "result.json").unlink()
    problem = models.gallery(models.get(KEY))["problem"]
    words = shlex.split(re.search("`.* tools/evaluate.py (.*)`", problem)[1])
    assert tool("evaluate", *words, "--splits", tested.splits) == 0
    assert "best" in models.gallery(models.get(KEY))
    (tested.folder() / "result.json").unlink()
    assert client.get("/api/models").json[0]["accuracy"] is None
    shutil.copytree(tested.folder(), tested.runs / "five_agrees" / "copy" / "fold1")
    assert len(client.get("/api/models").json) == 1


def test_the_command_says_what_it_lacks(tool, tested, capfd, tmp_path):
    assert "holds no trained network" in refused(tool, capfd, "serve", "--runs", tmp_path / "none")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port}" in refused(tool, capfd, "serve", "--runs", tested.runs, "--port", port)


@pytest.fixture
def address(root, tested):
    """Of the command, running; it ends by Ctrl-C in good order."""
    command = [sys.executable, root / "tools" / "serve.py", "--runs", tested.runs, "--data", tested.data, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield re.match(r"(http://127\.0\.0\.1:\d+) - Ctrl-C ends it", process.stdout.readline())[1] + "/"
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 0


@pytest.fixture
def chromium():
    """A headless Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser's test needs playwright")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("the browser's test needs chromium")
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def jpeg(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, **options)
    return file.getvalue()


def upload(page, data, name="a.jpg", kind="image/jpeg"):
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})


def opened(page, address):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(address)
    page.wait_for_selector("#best li, #worst li", state="attached")
    return asked


def verdict(page):
    page.wait_for_selector("#result:not(.waiting) #verdict:is(.positive, .negative)")
    return page.inner_text("#verdict")


@pytest.mark.slow
def test_the_page_in_a_browser(chromium, address, client, tested):
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    asked = opened(page, address)
    whole = (tested.data / "images" / "picture 3.jpg").read_bytes()
    answer = post(client, whole).json
    percent = round(100 * max(answer["positive"], 1 - answer["positive"]))

    # A picture that is chosen.
    upload(page, whole)
    assert verdict(page) == f"{answer['sentiment'].capitalize()}, {percent} %"
    assert page.inner_text("#agreement").startswith(f"{answer['agreeing']} of 10 crops say {answer['sentiment']}.")
    cells = page.locator("#crops tbody td").all_inner_texts()
    shown = [int(cell.split()[0]) for cell in cells[::2] + cells[1::2]]
    np.testing.assert_allclose(shown, 100 * np.array(answer["crops"]), atol=0.51)
    drawn = page.evaluate(
        "() => { const c = document.getElementById('map'); "
        "return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data] }"
    )
    np.testing.assert_allclose(np.reshape(drawn, (8, 8, 4))[..., 1], 255 * np.array(answer["map"]), atol=1.01)

    # The slider, by keyboard; the map covers the picture.
    opacity = "getComputedStyle(document.getElementById('map')).opacity"
    assert page.evaluate(opacity) == "0.5"
    page.focus("#opacity")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(opacity) == "0.6"
    assert page.inner_text("#opacity-value") == "60 %"
    page.keyboard.press("Home")
    assert page.evaluate(opacity) == "0"
    assert page.locator("#map").bounding_box() == pytest.approx(page.locator("#image").bounding_box())

    # One from the gallery, by keyboard.
    page.locator("#gallery button").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#image:not([alt='The image a.jpg'])")
    words = page.locator("#gallery button").first.inner_text()
    assert verdict(page).lower().replace(",", "") == words.split(",")[0].strip()

    # One that is pasted, and one that is dropped.
    for event, field in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.evaluate(
            """([bytes, event, field]) => {
              const data = new DataTransfer();
              data.items.add(new File([new Uint8Array(bytes)], event + '.jpg', {type: 'image/jpeg'}));
              const made = event == 'paste' ? new ClipboardEvent(event, {clipboardData: data, bubbles: true})
                                            : new DragEvent(event, {dataTransfer: data, bubbles: true});
              document.body.dispatchEvent(made);
            }""",
            [list(whole), event, field],
        )
        assert page.get_attribute("#image", "alt") == f"The image {event}.jpg"
        assert verdict(page) == f"{answer['sentiment'].capitalize()}, {percent} %"

    # What is refused, here and by the server.
    upload(page, b"GIF89a", "a.gif", "image/gif")
    assert page.inner_text("[role=alert]") == "a.gif is not a JPEG, PNG or WebP image."
    upload(page, bytes(20_000_001))
    assert "20 MB" in page.inner_text("[role=alert]")
    upload(page, b"nothing")
    page.wait_for_selector("[role=alert]:has-text('JPEG, PNG or WebP')")
    assert page.is_hidden("#result")
    assert all(url.startswith((address, "blob:", "data:")) for url in asked)


@pytest.mark.slow
def test_the_page_begins_with_the_best_network(chromium, tool, tiny, root):
    assert tool("train", *tiny.options, "--fold", 1, 2, 3, "--iterations", 1) == 0
    assert tool("evaluate", *tiny.options, "--fold", 2, 3) == 0
    for fold, accuracy in ((2, 0.4), (3, 0.6)):
        path = tiny.folder(fold) / "result.json"
        result = read_json(path)
        write_json(path, {**result, "accuracy": {"center": 0.5, "oversampled": accuracy}})
    from waitress import create_server

    models = server.Models(tiny.runs, data=[dataset.load(tiny.data)])
    listening = create_server(server.create_app(models, ["127.0.0.1"]), host="127.0.0.1", port=0)
    thread = threading.Thread(target=listening.run, daemon=True)
    thread.start()
    page = chromium.new_page()
    opened(page, f"http://127.0.0.1:{listening.effective_port}/")
    assert page.input_value("#model").endswith("fold3")
    assert page.inner_text("#model-note").startswith("finetune from source, fold 3 (tiny, five-agree): right on 60 %")
    listening.close()


@pytest.mark.slow
def test_the_page_at_a_phones_width_and_for_a_screen_reader(chromium, address):
    page = chromium.new_page(viewport={"width": 360, "height": 740})
    opened(page, address)
    sideways = np.zeros((80, 160, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    upload(page, jpeg(sideways, exif=exif))
    verdict(page)
    # The browser turns the picture as the server does, so that the map lies where it belongs.
    assert page.evaluate(
        "(({naturalWidth, naturalHeight}) => [naturalWidth, naturalHeight])(document.getElementById('image'))"
    ) == [80, 160]
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.click("summary")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#places td").count() == 64

    tree = page.locator("body").aria_snapshot()
    for part in ('combobox "Network"', 'slider "Map opacity"', "status", 'heading "How the ten crops agree"',
                 'table "P(positive) of each crop"', 'rowheader "centre"', 'list "Most certain and right'):  # fmt: skip
        assert part in tree, part
    # Every control has a name, and the keyboard reaches them in the page's order.
    page.focus("#model")
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["file", "opacity", "SUMMARY"]
    assert page.evaluate("[...document.querySelectorAll('input, select')].every(one => one.labels.length)")
    contrasts = page.evaluate(CONTRASTS)
    assert min(contrasts.values()) >= 4.5, contrasts


# WCAG 2.1's contrast of each text with what it stands on.
CONTRASTS = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return numbers(colour)[3] === 0 && one.parentElement ? ground(one.parentElement) : colour;
  };
  const found = {};
  for (const one of document.querySelectorAll('h1, h2, h3, p, label, th, td, caption, button, span, summary, output')) {
    if (!one.innerText?.trim() || one.className == 'hidden') continue;
    const [high, low] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
    found[one.innerText.slice(0, 20)] = (high + 0.05) / (low + 0.05);
  }
  return found;
}"""
