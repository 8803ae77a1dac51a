"""report.html: every table and figure of a study in one file that can be read offline."""

import base64
from collections import Counter
from dataclasses import replace
from html import escape
from pathlib import Path
from string import Template

from sentiment import paper
from sentiment.names import SUBSET_TITLES, net_title, plain
from sentiment.report import catalogue, claims, departures
from sentiment.report.study import Study
from sentiment.report.tables import DEMO, NOTHING, Difference, Table
from sentiment.training.configuration import CHECKSUMS
from sentiment.utils.errors import say
from sentiment.utils.files import read_json, read_text, write_if_changed

PAGE = Path(__file__).with_name("page.html")
TITLE = "From Pixels to Sentiment, rerun"

FIGURES = {  # number -> caption, alternative text
    "2": (
        "The fine-tuned network: CaffeNet with a new last layer of two outputs. Drawn from its definition.",
        "Diagram of the fine-tuned CaffeNet, layer by layer, with blob sizes, parameters and learning rates.",
    ),
    "4": (
        "Layers removed: the complete net beside fc7-2 and fc6-2. Drawn from their definitions.",
        "Diagram of three networks side by side; fc7-2 lacks fc8, fc6-2 lacks fc7 and fc8.",
    ),
    "5": (
        "A layer of two outputs added on top of the source's own last layer. Drawn from the definitions.",
        "Diagram of the fine-tuned network beside fc9 and its frozen variant.",
    ),
    "6": (
        "Training losses of the initialisations on one fold, from Caffe's logs.",
        "Line plots of training loss over iterations; the convergence table has their numbers.",
    ),
    "7": (
        "Images above their maps. Green is positive, red is negative; the border shows the image's own prediction.",
        "A grid of images, each above its map of local sentiment.",
    ),
}
FULL_SIZE = "Shown at full size and with the last layer of the real CaffeNet; the demo's nets have fewer channels."

# Sections in reading order: anchor, title, names of tables, numbers of figures.
SECTIONS = (
    ("claims", "The paper's claims", ("claims",), ()),
    ("table2", "Accuracy on three subsets (Table 2, Figure 2)", ("2",), ("2",)),
    ("table3", "Layer by layer (Table 3)", ("3",), ()),
    ("table4", "Layers removed (Table 4, Figure 4)", ("4",), ("4",)),
    ("table5", "Initialisations (Table 5, Figure 6)", ("5", "convergence"), ("6",)),
    ("table6", "A layer added (Table 6, Figure 5)", ("6",), ("5",)),
    ("table1", "Sentiment maps (Table 1, Figure 7)", ("1",), ("7",)),
    ("seeds", "Distribution over seeds", ("seeds",), ()),
    ("intervals", "How certain the accuracies are", ("intervals",), ()),
    ("classes", "Accuracy by class and confusion", ("classes",), ()),
    ("mcnemar", "McNemar's test between nets", ("mcnemar",), ()),
    ("runs", "All runs", ("runs",), ()),
)

INTRODUCTIONS = {  # anchor of a section -> the paragraph before its tables
    "intervals": (
        "A mean over five folds is only as certain as five numbers make it. Its 95 % interval is a range for the "
        "accuracy to expect of a net trained in the same way on as many images of the same kind: of a hundred such "
        "intervals, about 95 contain it. The nets of two folds have three quarters of their training images in common, "
        "so their accuracies differ less than those of independent trainings would. The interval allows for that: with "
        "five folds it is one and a half times as wide as one that does not. Two nets may differ although their "
        "intervals overlap, because they were tested on the same images. McNemar's test makes use of this: it "
        "counts the images that only one of the two nets gets right. It does so over all folds together, as if images "
        "were independent; but the five trainings of each net share training images, so its p-values are approximate."
    ),
}


def write(folder: Path, study: Study, tables: dict[str, list[Table]]) -> Path:
    """Write report.html into a folder, with the figures found there; returns its path.

    ``tables`` has those of every name in `catalogue.TABLES`. If the study is restricted, the file name says to what.
    """
    path = folder / f"report{study.suffix}.html"
    write_if_changed(path, _page(folder, study, tables))
    return path


def renew(folder: Path, study: Study, filters: list[dict]):
    """Update a folder's reports of selected nets; remove, with a message, those whose runs are gone.

    ``study`` has all nets; ``filters`` are the values of ``Study.only`` that those reports have.
    """
    for restricted in map(study.of, filters):
        path = folder / f"report{restricted.suffix}.html"
        if path.is_file() and restricted.results:
            write(folder, restricted, {name: catalogue.make(name, restricted) for name in catalogue.TABLES})
        elif path.is_file():
            path.unlink()
            say(f"removed {path}: the runs it was made from are gone")


def _page(folder, study, tables):
    sections = []
    for anchor, title, names, figures in SECTIONS:
        shown = [(name, table) for name in names for table in tables[name]]
        if shown or figures:
            body = [f"<p>{escape(INTRODUCTIONS[anchor])}</p>\n"] if anchor in INTRODUCTIONS else []
            body += [_mcnemar(table) if name == "mcnemar" else table.html() for name, table in shown]
            body += [_figure(folder, number, study.demo) for number in figures]
            body += [_maps(folder / "figure7.json")] if "7" in figures else []
            sections.append((anchor, title, "".join(body)))
    demo = f"{DEMO}. Small nets on drawn images show that everything runs."
    return Template(read_text(PAGE)).substitute(
        title=f"{TITLE}: demo data" if study.demo else TITLE,
        demo=f'<p class="demo">{escape(demo)}</p>\n' if study.demo else "",
        dataset=escape(study.dataset + (f", only {study.restriction}" if study.only else "")),
        glance=_glance(study, tables),
        contents="\n".join(f'<li><a href="#{anchor}">{escape(title)}</a></li>' for anchor, title, _ in sections),
        sections="\n".join(
            f'<section id="{anchor}">\n<h2>{escape(title)}</h2>\n{body}</section>' for anchor, title, body in sections
        ),
        made_with=_made_with(study).html(),
        choices=_choices(study).html(),
        checksums=_folded(_checksums(study)),
    )


def _glance(study, tables):
    """The report in a few numbers; for demo data without those that compare it with the paper."""
    outcomes = [row[3].outcome for table in tables["claims"] for row in table.rows]
    tested = len(outcomes) - outcomes.count(claims.NOT_TESTED)
    # Tables 4 and 5 repeat the CaffeNet of Table 2.
    repeated = net_title("finetune", "caffenet")
    rows = [row for name in "23456" for table in tables[name][:1] for row in table.rows if row[0] != repeated]
    verdicts = [cell.verdict for row in rows for cell in row if isinstance(cell, Difference) and cell.verdict]
    nets, runs = len(study.nets), len(study.results)
    departing = sum(bool(departures.of(result)) for result in study.results)
    items: list[tuple] = []
    if tested and not study.demo:
        held = f"{outcomes.count(claims.HELD)} of {tested}"
        items.append((held, "claims of the paper that could be tested here held"))
    if verdicts:
        within = f"{verdicts.count('within')} of {len(verdicts)}"
        items.append((within, "means in Tables 2 to 6 are within the paper's standard deviation"))
    items.append((nets, "net" if nets == 1 else "nets: combinations of architecture, initialisation and subset"))
    items.append((runs, "training" if runs == 1 else "trainings: one per net, fold and seed"))
    if departing and not study.demo:
        items.append((departing, "trainings with other settings than the default; the tables name them"))
    return '<ul class="glance">' + "".join(f"<li><strong>{n}</strong> {escape(of)}</li>" for n, of in items) + "</ul>\n"


def _figure(folder, number, demo):
    """A figure embedded in the page, or how to make it."""
    caption, alternative = FIGURES[number]
    path = folder / f"figure{number}.png"
    title = f"Figure {number}. {caption}" + (f" {FULL_SIZE}" if demo and number in "245" else "")
    if not path.is_file():
        target = "demo-paper" if demo else f"figure{number}"
        return f'<p class="note">{escape(title)} Not made yet; run <code>make {target}</code>.</p>\n'
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure>\n<div class="scroll" tabindex="0" role="region" aria-label="Figure {number}">'
        f'<img src="data:image/png;base64,{data}" alt="{escape(alternative)}"></div>\n'
        f"<figcaption>{escape(title)}</figcaption>\n</figure>\n"
    )


def _maps(path):
    """Notes on the cost of the maps, and on their agreement with the classifier, as figure7.json records them."""
    measured = read_json(path) if path.is_file() else {}
    notes = []
    if cost := measured.get("cost"):
        seconds, sums = (cost[unit]["map"] / cost[unit]["prediction"] for unit in ("seconds", "multiply_adds"))
        notes.append(
            f"A map costs {seconds:.1f} times the time of a prediction for one image, and {sums:.1f} times its "
            f"multiply-adds; the paper says about {paper.MAP_COST}."
        )
    if patches := measured.get("patches"):
        notes.append(
            f"{patches['maps']} maps compared with the classifier on each of their {patches['places']} patches: the "
            f"difference in P(positive) has a median of {patches['50']:.4f}; 90 % are below {patches['90']:.4f} and "
            f"the largest is {patches['100']:.4f}. It is caused by padding inside the net."
        )
    return "".join(f'<p class="note">{escape(note)}</p>\n' for note in notes)


def _mcnemar(table):
    """The pairs with the fine-tuned CaffeNet, then all pairs in a folded table."""
    main = net_title("finetune", "caffenet")
    rows = [row for row in table.rows if main in row[:2]]
    return (replace(table, title=f"{table.title}: against {main}", rows=rows).html() if rows else "") + _folded(table)


def _folded(table):
    """A long table, closed until it is clicked."""
    return f"<details>\n<summary>{escape(table.title)}: {len(table.rows)} rows</summary>\n{table.html()}</details>\n"


def _made_with(study):
    """What trainings and tests were computed with, and their seeds; where runs differ, the number of runs of each."""
    rows = []
    for phase in departures.PHASES:
        for title, fact in departures.FACTS.items():
            counts = Counter(departures.said_of(result, phase, fact) for result in study.results)
            shown = [f"{value} ({n} run{'s' * (n != 1)})" if len(counts) > 1 else value for value, n in counts.items()]
            rows.append([f"{phase}: {title}", "; ".join(shown)])
    fold_seeds = {(result.config.seed, result.config.fold): result.config.fold_seed for result in study.results}
    of_seeds = {}
    for (seed, fold), own in sorted(fold_seeds.items()):
        of_seeds.setdefault(seed, []).append(f"fold {fold}: {own}")
    rows.append(["seeds", "; ".join(f"{seed} ({', '.join(folds)})" for seed, folds in of_seeds.items())])
    return Table("made-with", "Engine, device, versions, seeds", [], ["item", "value in the runs"], rows, study.demo)


def _choices(study):
    """The choices that the paper leaves open or a user changed, and their values for each net."""
    titled = [(net.title, result) for net in study.nets for result in net.results]
    rows = []
    for key in study.nets[0].settings:
        values = [plain(result.config.settings()[key]) for _, result in titled]
        [(most, count)] = Counter(values).most_common(1)
        for value, nets in departures.whose(titled, values).items():
            rows.append([key, value, "all others" if value == most and count < len(values) else nets])
    notes = ["docs/protocol.md explains every choice, with its source and the option that changes it."]
    return Table("choices", "Choices in force", notes, ["choice", "value", "nets"], rows, study.demo)


def _checksums(study):
    """SHA-256 of the weights, the source, its mean image and the lists of every training."""
    rows = []
    for net in study.nets:
        for result in net.results:
            config = result.config
            sums = [one or NOTHING for one in (result.weights, *(getattr(config, name) for name in CHECKSUMS))]
            seeds = str(config.seed), str(config.fold_seed)
            rows.append([net.title, SUBSET_TITLES[net.subset], config.fold, *seeds, *sums])
    titles = ["weights", "source", "mean image", "training list", "test list"]
    header = ["net", "subset", "fold", "seed", "fold's seed", *titles]
    return Table("hashes", "SHA-256 of weights and lists", [], header, rows, study.demo)
