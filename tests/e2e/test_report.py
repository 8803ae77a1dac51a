"""report.html is one complete page: a browser renders it at any width, and it can be read offline."""

import html.parser
import shutil

import pytest

from helpers import made_up
from sentiment import paper
from sentiment.utils.files import write_json


@pytest.fixture(scope="module")
def report(tool, tmp_path_factory):
    """The report of made-up runs with figures, one with a name that must be escaped."""
    folder = tmp_path_factory.mktemp("report")
    for init in paper.INITIALISATIONS:
        made_up.run(folder / "runs", 1, init=init, demo=True, right=14)
    made_up.run(folder / "runs", 1, init="<b onload=alert(1)>&", demo=True)
    out = folder / "results"
    assert tool("plot_loss", "--runs", folder / "runs", "--out", out) == 0
    assert tool("draw_nets", "--out", out / "drawn") == 0
    cost = {"seconds": {"map": 0.6, "prediction": 0.2}, "multiply_adds": {"map": 87, "prediction": 10}}
    patches = {"maps": 6, "places": 64, "50": 0.01, "90": 0.05, "99": 0.1, "100": 0.2, "same": 0.97}
    write_json(out / "drawn" / "figure7.json", {"cost": cost, "patches": patches})
    assert tool("make_tables", "--runs", folder / "runs", "--out", out, "--report") == 0
    return out / "drawn" / "report.html"


class Page(html.parser.HTMLParser):
    void = {"meta", "link", "img"}

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_page_is_complete_and_refers_to_nothing_outside(report):
    page = Page(report.read_text())
    assert page.open == []
    addresses = [tag.get("src") or tag.get("href") for name, tag in page.tags if "src" in tag or "href" in tag]
    assert {address.split(":")[0].split("#")[0] for address in addresses} <= {"data", ""}
    assert not page.all("script")
    assert all(image["alt"] for image in page.all("img")) and len(page.all("img")) == 4
    assert all("scope" in head for head in page.all("th"))
    assert len(page.all("caption")) == len(page.all("table"))
    anchors = {tag["id"] for _, tag in page.tags if "id" in tag}
    assert {link["href"][1:] for link in page.all("a")} <= anchors
    words = " ".join(page.words)
    assert "means in Tables 2 to 6" not in words
    assert "DEMO DATA" in words and "Figure 7" in words and "make demo-paper" in words
    for measured in ("3.0 times", "8.7 times", "6 maps", "64 patches", "0.0100", "0.0500", "0.2000"):
        assert measured in words
    assert "finetune from <b onload=alert(1)>&" in words and not page.all("b")


def test_demo_data_are_not_compared_with_the_paper(report):
    page = " ".join("".join(Page(report.read_text()).words).split())
    assert "Shown at full size" in page
    assert "claims of the paper that could be tested here held" not in page
    assert " within " not in page and " beyond " not in page


def test_a_mean_that_several_tables_show_counts_once(tool, tmp_path):
    for fold in paper.FOLDS:
        made_up.run(tmp_path / "runs", fold)
    assert tool("make_tables", "--runs", tmp_path / "runs", "--out", tmp_path / "results", "--report") == 0
    (page,) = (tmp_path / "results").rglob("report.html")
    assert " of 2</strong> means in Tables 2 to 6" in page.read_text()  # by centre crop and by ten crops


def test_the_page_names_engine_versions_seeds_hashes_and_choices(report):
    words = " ".join(Page(report.read_text()).words)
    for fact in ("pixels-to-sentiment 0.1.0", "torch 2.13.0", "0123456789abcdef" * 4, "base_lr", "docs/protocol.md"):
        assert fact in words


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, which the test extra brings")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs a chromium on the path; on Debian: apt install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])  # root has no sandbox
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_a_browser_renders_it_without_asking_for_anything(report, browser, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said, asked = [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert page.title() == "From Pixels to Sentiment, rerun: demo data"
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    # Only tables and figures, which scroll by themselves, are wider than the window.
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("#claims tbody tr").count() == 11
    white = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert white == (scheme == "light")
    page.close()
