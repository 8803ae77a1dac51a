"""The paper's Tables 1 to 6, with this project's results beside the paper's numbers, and two tables of all runs.

Each function takes a `study.Study` and returns a list of tables, usually of one. A net that was not run has a row with
the paper's numbers and empty cells for this project's. A net that the study's restriction leaves out has no row; if it
leaves all out, there is no table.
"""

from dataclasses import replace

from sentiment import paper
from sentiment.evaluation import results
from sentiment.evaluation.predictions import WAYS
from sentiment.names import SUBSET_TITLES, WAY_TITLES, net_title
from sentiment.networks import architectures, definitions, surgery
from sentiment.report import departures, layer_table
from sentiment.report.study import FIVE, Study
from sentiment.report.tables import NOTHING, Number, Score, Table, difference, published
from sentiment.utils.files import PROJECT

ACCURACY = "accuracy, mean ± std over five folds"
DIFFERENCE = "Difference: here minus the paper; within, or beyond, the paper's own standard deviation."
PUBLISHED = {
    **{("fc9", init, FIVE): scores for init, scores in paper.TABLE6.items()},
    **{(arch, "caffenet", FIVE): scores for arch, scores in paper.TABLE4.items()},
    **{("finetune", init, FIVE): scores for init, scores in paper.TABLE5.items()},
    **{("finetune", "caffenet", subset): scores for subset, scores in paper.TABLE2["CaffeNet"].items()},
}
"""(arch, init, subset) -> the paper's (mean, std) by way of testing."""


def table1(study: Study) -> list[Table]:
    """Table 1: the layers of the fully convolutional net that the fine-tuned one becomes."""
    if not study.shows("finetune", "caffenet"):
        return []
    folders = [result.folder for result in study.net("finetune", "caffenet").results[:1]]
    paths = [folder / "deploy.prototxt" for folder in (*folders, PROJECT / "prototxt" / "finetune")]
    path = next(path for path in paths if path.is_file())
    return [replace(fcn_table(surgery.convert(definitions.read(path), where=str(path))), demo=study.demo)]


def table2(study: Study) -> list[Table]:
    """Table 2: accuracy on the three subsets, the paper's rows and those of this project's nets.

    The nets are CaffeNet and those that were fine-tuned on another subset than five-agree; if there are none of these,
    all that were fine-tuned on five-agree. The nets of PCNN, from each of its inits, stand below the paper's row of it.
    """
    caffenet = ("finetune", "caffenet")
    tuned = [net for net in study.default_nets if architectures.ARCHITECTURES[net.arch].in_table2]
    shown = [net for net in tuned if (net.arch, net.init) == caffenet or net.subset != FIVE] or tuned
    names = list(dict.fromkeys((net.arch, net.init) for net in shown))
    subsets = [subset for subset in paper.SUBSETS if subset in study.only.get("subset", paper.SUBSETS)]
    if not names and study.shows(*caffenet, subsets[0]):
        names = [caffenet]
    pcnn = list(dict.fromkeys((net.arch, net.init) for net in study.default_nets if net.arch == "pcnn"))
    of_pcnn = [paper.TABLE2["PCNN"][subset]["center"] for subset in subsets]
    rows: list[list] = [["PCNN, paper" if pcnn else "PCNN (from the paper, not run)", *map(published, of_pcnn)]]
    for arch, init in pcnn:
        here = [study.net(arch, init, subset).score("center") for subset in subsets]
        rows.append([f"{net_title(arch, init)}, here", *here])
        if not study.demo:
            rows.append([f"{net_title(arch, init)}, difference", *map(difference, here, of_pcnn)])
    for way in WAYS:
        suffix = "" if way == "center" else " with oversampling"
        of_paper = [paper.TABLE2["CaffeNet"][subset][way] for subset in subsets]
        rows.append([f"CaffeNet{suffix}, paper", *map(published, of_paper)])
        for arch, init in names:
            here = [study.net(arch, init, subset).score(way) for subset in subsets]
            name = net_title(arch, init) + suffix
            rows.append([f"{name}, here", *here])
            if (arch, init) == caffenet and not study.demo:
                rows.append([f"{name}, difference", *map(difference, here, of_paper)])
    header = ["net", *(SUBSET_TITLES[subset] for subset in subsets)]
    nets = [study.net(*name, subset) for name in pcnn + names for subset in subsets]
    notes = _notes(study, nets, beside=bool(pcnn) or caffenet in names)
    return [Table("table2", f"Table 2: {ACCURACY}", notes, header, rows, study.demo)] if nets else []


def table3(study: Study) -> list[Table]:
    """Table 3: linear classifiers on the activations of each layer, a table for each net and way of choosing C.

    The file names of the tables of nets other than the CaffeNet fine-tuned on five-agree name the net.
    """
    found = []
    for summary in study.layers:
        own = summary is study.paper_layers
        names = [] if own else [summary.subset, summary.arch, summary.init, summary.variant]
        analysed = set(summary.weights.values())
        nets = [replace(net, results=[one for one in net.results if one.weights in analysed]) for net in study.nets]
        for selection in summary.selections:
            table = layer_table.table(summary, selection, study.sample)
            notes = [*table.notes, *departures.about(study, nets)[1:]]
            file = "-".join(filter(None, [table.file, *names]))
            table = replace(table, file=file, notes=notes, demo=study.demo)
            found.append((not own, table.file, table))
    tables = [table for *_, table in sorted(found, key=lambda item: item[:2])]
    if study.paper_layers is None and study.shows("finetune", "caffenet"):
        tables.insert(0, layer_table.not_run(study.demo))
    return tables


def table4(study: Study) -> list[Table]:
    """Table 4: the ablated nets, and how many fewer parameters they have than the complete one."""
    nets = [study.net(arch, "caffenet") for arch in ("finetune", *paper.TABLE4) if study.shows(arch, "caffenet")]
    divisor = next((net.settings["channels_divisor"] for net in nets if net.results), 1)
    complete = architectures.parameters("finetune", divisor)
    rows = []
    for net in nets:
        counted = architectures.parameters(net.arch, divisor)
        fewer: list = [NOTHING, NOTHING]
        if least := paper.TABLE4_FEWER_PARAMETERS.get(net.arch):
            fewer = [complete - counted, Number(least, f"> {least // 10**6} M")]
        rows.append(([net_title(net.arch, net.init)], net, [counted, *fewer]))
    size = f"with 1/{divisor} of the channels; the paper's have all" if divisor > 1 else "of full size"
    title = f"Table 4: layers removed; {ACCURACY}, five-agree"
    more = ["parameters", "fewer", "fewer, paper"]
    return _of_nets(study, "table4", title, ["net"], rows, f"Parameters: of nets {size}.", more)


def table5(study: Study) -> list[Table]:
    """Table 5: the nine initialisations, and other sources that were fine-tuned."""
    tuned = [net.init for net in study.default_nets if (net.subset, net.arch) == (FIVE, "finetune")]
    inits = [init for init in paper.INITIALISATIONS if study.shows("finetune", init)]
    inits += dict.fromkeys(init for init in tuned if init not in paper.INITIALISATIONS)
    rows = [([paper.INITIALISATIONS.get(init, init)], study.net("finetune", init), []) for init in inits]
    return _of_nets(study, "table5", f"Table 5: {ACCURACY}, five-agree", ["initialisation"], rows)


def table6(study: Study) -> list[Table]:
    """Table 6: a layer added on top of the source's own last one, and the frozen variant that the paper proposes."""
    archs = architectures.ON_LAST_LAYER
    names = [(arch, init) for arch in archs for init in paper.TABLE6 if study.shows(arch, init)]
    names += [(net.arch, net.init) for net in study.default_nets if net.subset == FIVE and net.arch in archs]
    rows = [([net_title(*name)], study.net(*name), []) for name in dict.fromkeys(names)]
    note = "fc9-frozen: only the added layer learns. The paper proposes it and did not run it."
    return _of_nets(study, "table6", f"Table 6: a layer added; {ACCURACY}, five-agree", ["net"], rows, note)


def all_runs(study: Study) -> list[Table]:
    """A row for each net and subset, beside the paper's numbers for it if there are any."""
    rows = [([net.title, SUBSET_TITLES[net.subset]], net, []) for net in study.nets]
    return _of_nets(study, "runs", f"All runs: {ACCURACY}", ["net", "subset"], rows)


def seeds(study: Study) -> list[Table]:
    """The distribution over seeds of the mean over five folds; an empty list if no net was run with several seeds."""
    rows = []
    for net in study.nets:
        complete = [found for found in net.by_seed.values() if len(found) == len(paper.FOLDS)]
        if len(complete) < 2:
            continue
        for way, title in WAY_TITLES.items():
            means = [results.mean_std([result.accuracy[way] for result in of_seed])[0] for of_seed in complete]
            of_paper = PUBLISHED.get(net.key, {}).get(way)
            below = sum(mean < of_paper[0] for mean in means) if of_paper else NOTHING
            middle = Score(*results.mean_std(means, study.sample), runs=len(means))
            cells = [len(means), middle, Number(min(means)), Number(max(means)), published(of_paper), below]
            rows.append([net.title, SUBSET_TITLES[net.subset], title, *cells])
    numbers = ["seeds", "mean ± std over seeds", "lowest", "highest", "paper", "seeds below"]
    header = ["net", "subset", "tested by", *numbers]
    notes = [
        *departures.about(study),
        "Each seed counts by its mean over the five folds; seeds that lack a fold are left out. The paper's ± is over "
        "folds, of one training each. Seeds below: those whose mean is below the paper's.",
    ]
    return [Table("seeds", "Distribution over seeds", notes, header, rows, study.demo)] if rows else []


def fcn_table(conversion: surgery.Conversion) -> Table:
    """Table 1: the converted layers beside the paper's."""
    rows = []
    for kernel in conversion.kernels:
        here = [kernel.number, _shape(kernel.height, kernel.width, kernel.depth)]
        of_paper: list = [NOTHING, NOTHING]
        if kernel.layer in paper.TABLE1:
            number, (width, height, depth) = paper.TABLE1[kernel.layer]
            of_paper = [number, _shape(height, width, depth)]
        rows.append([kernel.layer, here[0], of_paper[0], here[1], of_paper[1], kernel.stride])
    columns = [(name, where) for name in ("kernels", "height × width × depth") for where in ("here", "paper")]
    title = "Table 1: fully connected layers as convolutions"
    return Table("table1", title, [surgery.describe(conversion)], ["layer", *columns, "stride"], rows)


def _of_nets(study, file, title, names, rows, note="", more=()) -> list[Table]:
    """The table of some nets' accuracies beside the paper's; an empty list if there are no rows.

    ``names`` are the first columns, ``more`` the last; a row is its first cells, its net, and its last cells.
    """
    # A difference between accuracies on drawn images and the paper's means nothing.
    columns = ("here", "paper") if study.demo else ("here", "paper", "difference")
    header = [*names, *((title, column) for title in WAY_TITLES.values() for column in columns), *more]
    cells = []
    for first, net, last in rows:
        of_paper = {} if net.variant else PUBLISHED.get(net.key, {})
        line = list(first)
        for way in WAYS:
            here = net.score(way)
            line += [here, published(of_paper.get(way))]
            line += [] if study.demo else [difference(here, of_paper.get(way))]
        cells.append([*line, *last])
    notes = _notes(study, [net for _, net, _ in rows])
    notes += [note] if note else []
    return [Table(file, title, notes, header, cells, study.demo)] if rows else []


def _notes(study, nets, beside=True):
    """A table's notes, given its nets and whether it has differences from the paper's numbers (``beside``)."""
    keys = [net.key for net in nets]
    others = [net for net in study.nets if net.key in keys and net not in nets]
    deviation = f"The ± is the {'sample' if study.sample else 'population'} standard deviation."
    first, *notes = departures.about(study, nets)
    if others:
        named = ", ".join(f"{net.title} {SUBSET_TITLES[net.subset]}" for net in others)
        notes.append(f"Run with other choices too, which the table of all runs shows: {named}.")
    return [first, deviation if study.demo or not beside else f"{deviation} {DIFFERENCE}", *notes]


def _shape(*numbers):
    return " × ".join(map(str, numbers))
