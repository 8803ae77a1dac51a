"""A table says the same in every form it is written in."""

import csv
import html.parser
import io

import pytest

from sentiment import names
from sentiment.report.tables import NOTHING, Difference, Number, Score, Table, difference, published


def table(demo=False, **changed):
    values = dict(
        file="table9", title="Table 9: of 100 % & more", notes=["The ± is a deviation."],
        header=["net", ("centre crop", "here"), ("centre crop", "difference"), "images"],
        rows=[
            ["fc6_twitter", Score(0.8171, 0.0384, 5), Difference(0.0301, "within"), 1200],
            ["<b>", Score(0.5, None, 1, "fold 3 only"), NOTHING, NOTHING],
        ],
        demo=demo,
    )  # fmt: skip
    return Table(**{**values, **changed})


def test_scores_are_printed_as_the_paper_prints_them():
    assert Score(0.817, 0.038).text() == ".817±.038"
    assert Score(0.817, 0.038).latex() == r"$0.817 \pm 0.038$"
    assert Score(0.8, None, 1, "fold 3 only").text() == ".800 (fold 3 only)"
    assert published((0.783, None)).text() == ".783"
    assert published(None) == NOTHING


@pytest.mark.parametrize(
    ("mean", "text"),
    [(0.855, "+.038 within"), (0.8551, "+.038 beyond"), (0.779, "-.038 within"), (0.8169, "+.000 within")],
)
def test_a_difference_says_whether_it_is_within_the_paper_s_deviation(mean, text):
    assert difference(Score(mean), (0.817, 0.038)).text() == text


def test_a_difference_from_a_number_without_deviation_says_neither():
    assert difference(Score(0.8), (0.783, None)).text() == "+.017"
    assert difference(NOTHING, (0.783, None)) == difference(Score(0.8), None) == NOTHING


def test_markdown_is_a_table():
    text = table().markdown().splitlines()
    lines = [line for line in text if line.startswith("|")]
    assert len({len(line) for line in lines}) == len({line.count("|") for line in lines}) == 1
    assert set(lines[1]) == set("|-")
    assert "centre crop, difference" in lines[0]
    assert "+.030 within" in lines[2] and "1,200" in lines[2]


def test_csv_has_numbers_a_program_can_read():
    rows = list(csv.DictReader(io.StringIO(table().csv())))
    assert float(rows[0]["centre crop, here"]) == 0.8171
    assert float(rows[0]["centre crop, here std"]) == 0.0384
    assert [row["centre crop, here runs"] for row in rows] == ["5", "1"]
    assert rows[0]["centre crop, difference within the paper's std"] == "1"
    assert rows[0]["images"] == "1200"
    assert rows[1]["centre crop, here std"] == rows[1]["centre crop, difference"] == rows[1]["images"] == ""


def test_csv_keeps_a_number_as_it_is_and_not_as_it_is_printed():
    rows = [["a", Number(0.0000123456789, "<.001")]]
    assert "1.23456789e-05" in table(header=["net", "p"], rows=rows).csv()


def test_latex_is_booktabs_and_escaped():
    text = table().latex()
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    rows = body[body.index(r"\midrule") :].splitlines()[1:]
    assert [row.count(" & ") for row in rows if row.endswith(r"\\")] == [3, 3]
    assert r"\cmidrule(lr){2-3}" in body and r"\multicolumn{2}{c}{centre crop}" in body
    assert r"fc6\_twitter & $0.817 \pm 0.038$ & $+0.030$ within & 1,200 \\" in body
    assert r"\caption{Of 100 \% \& more}" in text and r"The $\pm$ is" in text  # LaTeX says "Table 9" itself
    assert text.isascii()


class Cells(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


def test_html_names_rows_and_columns_and_is_escaped():
    cells = Cells(table().html())
    heads = [attributes for tag, attributes in cells.tags if tag == "th"]
    assert [head["scope"] for head in heads] == ["col", "colgroup", "col", "col", "col", "row", "row"]
    assert [tag for tag, _ in cells.tags].count("caption") == 1
    assert "<b>" in cells.words and "b" not in [tag for tag, _ in cells.tags]
    assert [attributes["class"] for tag, attributes in cells.tags if tag == "td"][:2] == ["number", "number within"]


@pytest.mark.parametrize("form", ["markdown", "csv", "latex"])
def test_drawn_data_are_named_in_the_first_line(form):
    assert "DEMO DATA" in getattr(table(demo=True), form)().splitlines()[0]
    assert "DEMO" not in getattr(table(), form)()


def test_drawn_data_are_named_in_the_caption():
    assert "<caption><span>DEMO DATA" in table(demo=True).html()


def test_writing_again_leaves_files_alone(tmp_path):
    paths = table().write(tmp_path)
    assert [path.name for path in paths] == ["table9.md", "table9.csv", "table9.tex"]
    before = [path.stat().st_mtime_ns for path in paths]
    assert [path.stat().st_mtime_ns for path in table().write(tmp_path)] == before


def test_a_source_is_called_by_its_content():
    assert names.source_name("places", None) == "places"  # of the first version
    assert names.source_name("places", "places") == "places"
    assert names.source_name("mine", "places") == "places"
    assert names.source_name("mine", "") == "mine"
    assert "PlacesCNN" not in names.net_title("finetune", names.source_name("places", ""))
