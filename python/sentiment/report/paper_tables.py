"""The paper's Tables 1 to 6, filled from what runs found and set beside the paper's own numbers.

A table is a function of a `study.Study` and returns the tables it makes, mostly one. A net that was not run has its
row all the same: the paper's numbers, and nothing where this project's would stand. One that the study leaves out, run
or not, has none; and where all would be left out there is no table.
"""

from dataclasses import replace

from sentiment import paper
from sentiment.evaluation import results
from sentiment.evaluation.predictions import WAYS
from sentiment.names import SUBSET_TITLES, WAY_TITLES, net_title, score
from sentiment.networks import architectures, definitions, surgery
from sentiment.paper import TABLE1
from sentiment.report import departures, layer_table
from sentiment.report.tables import NOTHING, Number, Score, Table, difference, published
from sentiment.utils.files import PROJECT

FIVE = "five_agrees"
TITLE = "accuracy, mean ± std over five folds"
BESIDE = "Difference: here minus the paper; within, or beyond, the paper's own standard deviation."


def table1(study):
    """Table 1: the layers of the fully convolutional net that the fine-tuned one becomes."""
    if not study.shows("finetune", "caffenet"):
        return []
    net = study.net("finetune", "caffenet")
    own = net.results[0].folder / "deploy.prototxt" if net else None
    path = own if own and own.is_file() else PROJECT / "prototxt" / "finetune" / "deploy.prototxt"
    conversion = surgery.convert(definitions.read(path), where=str(path))
    return [replace(fcn_table(conversion), demo=study.demo)]


def table2(study):
    """Table 2: accuracy on the three subsets, the paper's lines and those of this project's nets.

    The nets are CaffeNet and whatever else was fine-tuned on more than the five-agree subset, or on that alone where
    there is nothing else.
    """
    tuned = [net for net in study.default_nets if architectures.ARCHITECTURES[net.arch].in_table2]
    shown = [net for net in tuned if (net.arch, net.init) == ("finetune", "caffenet") or net.subset != FIVE] or tuned
    names = list(dict.fromkeys((net.arch, net.init) for net in shown))
    subsets = [subset for subset in paper.SUBSETS if subset in study.only.get("subset", paper.SUBSETS)]
    if not names:
        if not study.shows("finetune", "caffenet", subsets[0]):
            return []
        names = [("finetune", "caffenet")]
    lines = [
        [
            "PCNN (from the paper, not run)",
            *(published(paper.TABLE2["PCNN"][subset]["center"]) for subset in subsets),
        ]
    ]
    for way in WAYS:
        suffix = "" if way == "center" else " with oversampling"
        of_paper = {subset: paper.TABLE2["CaffeNet"][subset][way] for subset in subsets}
        lines.append([f"CaffeNet{suffix}, paper", *map(published, of_paper.values())])
        for arch, init in names:
            name = net_title(arch, init) + suffix
            found = {subset: study.score(arch, init, subset, way) for subset in subsets}
            lines.append([f"{name}, here", *(cell or NOTHING for cell in found.values())])
            if (arch, init) == ("finetune", "caffenet") and not study.demo:
                lines.append([f"{name}, difference", *(_difference(found[s], of_paper[s]) for s in subsets)])
    header = ["net", *(SUBSET_TITLES[subset] for subset in subsets)]
    shown_cells = [(*name, subset) for name in names for subset in subsets]
    notes = _notes(study, shown_cells, beside=("finetune", "caffenet") in names)
    return [Table("table2", f"Table 2: {TITLE}", notes, header, lines, study.demo)]


def table3(study):
    """Table 3: linear classifiers on the activations of each layer, a table a net and way of choosing C.

    Only the fine-tuned CaffeNet's five-agree tables bear the bare name; others are named by what they are of.
    """
    found = []
    for summary in study.layers:
        name = "-".join(filter(None, (summary.arch, summary.init, summary.variant)))
        own = summary is study.paper_layers
        for selection in summary.selections:
            table = layer_table.table(summary, selection, study.sample)
            file = table.file if own else f"{table.file}-{summary.subset}-{name}"
            notes = [*table.notes, *_trained(study, summary)]
            found.append(((not own, file), replace(table, file=file, notes=notes, demo=study.demo)))
    tables = [table for _, table in sorted(found, key=lambda item: item[0])]
    own = any(table.file == "table3" for table in tables) or not study.shows("finetune", "caffenet")
    return tables if own else [_table3_not_run(study), *tables]


def table4(study):
    """Table 4: the ablated nets, and how many parameters fewer they have than the whole one."""
    archs = [arch for arch in ("finetune", *paper.TABLE4) if study.shows(arch, "caffenet")]
    divisor = next((net.settings["channels_divisor"] for arch in archs if (net := study.net(arch, "caffenet"))), 1)
    rows = []
    for arch in archs:
        counted = architectures.parameters(arch, divisor)
        fewer: list = [NOTHING, NOTHING]
        if least := paper.TABLE4_FEWER_PARAMETERS.get(arch):
            whole = architectures.parameters("finetune", divisor)
            fewer = [whole - counted, Number(least, f"> {least // 10**6} M")]
        rows.append([net_title(arch, "caffenet"), *_beside(study, arch, "caffenet"), counted, *fewer])
    size = f"with 1/{divisor} of the channels; the paper's have all" if divisor > 1 else "of full size"
    notes = [*_notes(study, [(arch, "caffenet", FIVE) for arch in archs]), f"Parameters: of nets {size}."]
    header = ["net", *_both_ways(study), "parameters", "fewer", "fewer, paper"]
    return _made(study, "table4", f"Table 4: layers removed; {TITLE}, five-agree", notes, header, rows)


def table5(study):
    """Table 5: the nine initialisations, and whatever else was fine-tuned."""
    tuned = [net.init for net in study.default_nets if (net.subset, net.arch) == (FIVE, "finetune")]
    inits = [init for init in paper.INITIALISATIONS if study.shows("finetune", init)]
    inits += dict.fromkeys(init for init in tuned if init not in paper.INITIALISATIONS)
    rows = [[paper.INITIALISATIONS.get(init, init), *_beside(study, "finetune", init)] for init in inits]
    notes = _notes(study, [("finetune", init, FIVE) for init in inits])
    header = ["initialisation", *_both_ways(study)]
    return _made(study, "table5", f"Table 5: {TITLE}, five-agree", notes, header, rows)


def table6(study):
    """Table 6: a layer added on top of the source's own last one, and the freezing the paper proposes."""
    archs = architectures.ON_LAST_LAYER
    names = [(arch, init) for arch in archs for init in paper.TABLE6 if study.shows(arch, init)]
    names += [(net.arch, net.init) for net in study.default_nets if net.subset == FIVE and net.arch in archs]
    names = list(dict.fromkeys(names))
    rows = [[net_title(arch, init), *_beside(study, arch, init)] for arch, init in names]
    notes = _notes(study, [(*name, FIVE) for name in names])
    notes.append("fc9-frozen: only the added layer learns. The paper proposes it and did not run it.")
    header = ["net", *_both_ways(study)]
    return _made(study, "table6", f"Table 6: a layer added; {TITLE}, five-agree", notes, header, rows)


def all_runs(study):
    """A row per net and subset, with the paper's numbers where it has any."""
    rows = [
        [net.title, SUBSET_TITLES[net.subset], *_beside(study, net.arch, net.init, net.subset, net)]
        for net in study.nets
    ]
    header = ["net", "subset", *_both_ways(study)]
    return _made(study, "runs", f"All runs: {TITLE}", _notes(study, study.nets), header, rows)


def seeds(study):
    """The distribution over seeds of the mean over five folds; no table where no net was run with several."""
    rows = []
    for net in study.nets:
        whole = [net.of_seed(seed) for seed in net.seeds if len(net.of_seed(seed)) == len(paper.FOLDS)]
        if len(whole) < 2:
            continue
        for way, title in WAY_TITLES.items():
            means = [results.mean_std([result.accuracy[way] for result in of_seed])[0] for of_seed in whole]
            of_paper = published_scores(net.arch, net.init, net.subset).get(way)
            below = sum(mean < of_paper[0] for mean in means) if of_paper else NOTHING
            middle = Score(*results.mean_std(means, study.sample), runs=len(means))
            lowest, highest = (Number(value, score(value)) for value in (min(means), max(means)))
            cells = [len(means), middle, lowest, highest, published(of_paper), below]
            rows.append([net.title, SUBSET_TITLES[net.subset], title, *cells])
    numbers = ["seeds", "mean ± std over seeds", "lowest", "highest", "paper", "seeds below"]
    header = ["net", "subset", "tested by", *numbers]
    notes = [
        *departures.about(study),
        "Each seed counts by its mean over the five folds; seeds that lack a fold are left out. The paper's ± is over "
        "folds, of one training each. Seeds below: those whose mean is below the paper's.",
    ]
    return _made(study, "seeds", "Distribution over seeds", notes, header, rows)


def _made(study, file, title, notes, header, rows):
    """The table, in a list; no table without rows."""
    return [Table(file, title, notes, header, rows, study.demo)] if rows else []


def published_scores(arch, init, subset):
    """The paper's (mean, std) by way of testing, empty where it has none."""
    if (arch, init) == ("finetune", "caffenet"):
        return paper.TABLE2["CaffeNet"][subset]
    if subset == FIVE and arch == "finetune":
        return paper.TABLE5.get(init, {})
    if subset == FIVE and init == "caffenet" and arch in paper.TABLE4:
        return paper.TABLE4[arch]
    if subset == FIVE and arch == "fc9":
        return paper.TABLE6.get(init, {})
    return {}


def _beside(study, arch, init, subset=FIVE, net=None):
    """Cells of both ways of testing under `_both_ways`: here, the paper's, the difference."""
    net = net or study.net(arch, init, subset)
    of_paper = {} if net and net.variant else published_scores(arch, init, subset)
    cells = []
    for way in WAYS:
        here = net and net.score(way, study.sample)
        cells += [here or NOTHING, published(of_paper.get(way))]
        cells += [] if study.demo else [_difference(here, of_paper.get(way))]
    return cells


def _both_ways(study):
    """Columns of both ways of testing. Of drawn pictures a difference from the paper would mean nothing."""
    columns = ("here", "paper") if study.demo else ("here", "paper", "difference")
    return [(title, column) for title in WAY_TITLES.values() for column in columns]


def _difference(here, mean_std):
    return difference(here and here.mean, mean_std)


def _notes(study, shown, beside=True):
    """A table's notes, given the nets in it: each a `Net`, or its (arch, init, subset)."""
    keys = {one if isinstance(one, tuple) else (one.arch, one.init, one.subset) for one in shown}
    found = [study.net(*one) if isinstance(one, tuple) else one for one in shown]
    apart = [net for net in study.nets if (net.arch, net.init, net.subset) in keys and net not in found]
    others = ", ".join(f"{net.title} {SUBSET_TITLES[net.subset]}" for net in apart)
    deviation = f"The ± is the {'sample' if study.sample else 'population'} standard deviation."
    first, *more = departures.about(study, list(filter(None, found)))
    run_too = [f"Run with other choices too, which the table of all runs shows: {others}."] if others else []
    return [first, deviation if study.demo or not beside else f"{deviation} {BESIDE}", *more, *run_too]


def _trained(study, summary):
    """Notes on how the nets of a layer analysis were trained, where that is not as usual."""
    analysed = set(summary.weights.values())
    of_nets = ([result for result in net.results if result.weights in analysed] for net in study.nets)
    nets = [replace(net, results=found) for net, found in zip(study.nets, of_nets, strict=True) if found]
    return departures.about(study, nets)[1:]


def _table3_not_run(study):
    """The paper's Table 3 beside nothing."""
    rows = []
    for layer, scores in paper.TABLE3.items():
        cells = [cell for of_paper in scores.values() for cell in (NOTHING, published(of_paper))]
        rows.append([layer, *cells])
    header = ["layer", *((title, name) for title in ("SVM", "Softmax") for name in ("here", "paper"))]
    notes = ["Not run: tools/extract_features.py and tools/analyze_layers.py fill it."]
    return Table("table3", "Table 3: linear classifiers on layers", notes, header, rows, study.demo)


def fcn_table(conversion: surgery.Conversion) -> Table:
    """Table 1: the converted layers beside the paper's."""
    rows = []
    for kernel in conversion.kernels:
        published, of_paper = None, NOTHING
        if kernel.layer in TABLE1:
            published, (width, height, depth) = TABLE1[kernel.layer]
            of_paper = _shape(height, width, depth)
        shape = _shape(kernel.height, kernel.width, kernel.depth)
        rows.append([kernel.layer, kernel.number, published or NOTHING, shape, of_paper, kernel.stride])
    columns = [(name, where) for name in ("kernels", "height × width × depth") for where in ("here", "paper")]
    title = "Table 1: fully connected layers as convolutions"
    return Table("table1", title, [surgery.describe(conversion)], ["layer", *columns, "stride"], rows)


def _shape(*numbers):
    return " × ".join(map(str, numbers))
