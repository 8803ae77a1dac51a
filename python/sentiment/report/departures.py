"""Notes on trainings that differ from the default, and on mixed engines, devices and versions.

The default is the paper's schedule for the number of images, and this project's choices where the paper is silent
(docs/protocol.md); for networks that are not in the paper, this project's schedule.
"""

from collections.abc import Callable
from dataclasses import asdict

from sentiment import engine, paper
from sentiment.engine import Environment
from sentiment.evaluation.results import Result
from sentiment.names import SUBSET_TITLES, plain, source_name
from sentiment.networks import architectures
from sentiment.report.study import Net, Study
from sentiment.training import solvers

_OWN_MEANS = ("places",)  # initialisations with a mean of their own instead of ImageNet's
PROBE = (
    "A linear probe is what a fine-tuning has to beat: a logistic regression on the source's unchanged features that "
    "feed the new layer, with C chosen over inner folds of the training images."
)
_NOT_RECORDED = "not recorded"  # what the first version left out


def of(result: Result) -> dict:
    """Settings of a result's training that differ from the default, by name; what is not recorded counts as default."""
    config = result.config
    own = architectures.ARCHITECTURES.get(config.arch, architectures.ARCHITECTURES["finetune"])
    defaults = {**asdict(solvers.schedule(config.arch, train_images(result))), **asdict(own.choices)}
    defaults["precision"] = engine.PRECISIONS[0]
    values = {name: value for name, value in config.settings().items() if value is not None}
    found = {name: values[name] for name, default in defaults.items() if name in values and values[name] != default}
    if result.evaluation.precision != values.get("precision", defaults["precision"]):
        found["precision of testing"] = result.evaluation.precision
    means = values.get("mean", paper.IMAGENET_MEANS_BGR)
    off = max(abs(mean - default) for mean, default in zip(means, paper.IMAGENET_MEANS_BGR, strict=True))
    if off > 1 and source_name(config.init, config.card) not in _OWN_MEANS:
        found["mean"] = means
    if values.get("channels_divisor", 1) != 1 and not config.demo:  # the demo's titles say so
        found["channels_divisor"] = values["channels_divisor"]
    return found


def train_images(result: Result) -> int:
    """The number of training images; the first version did not record it, and had four times as many as test images."""
    return result.config.train_images or (len(paper.FOLDS) - 1) * result.test_images


def about(study: Study, nets: list[Net] | None = None) -> list[str]:
    """A table's first notes: data set, runs, its note, trainings that differ from the default, mixed environments.

    ``nets`` are those in the table (default: all).
    """
    first = f"Data set: {study.dataset}, runs in {study.root}."
    titled = [(net.title, result) for net in (study.nets if nets is None else nets) for result in net.results]
    fitted = [name for name, architecture in architectures.ARCHITECTURES.items() if architecture.fitted]
    probed = any(result.config.arch in fitted for _, result in titled)
    return [f"{first} {study.note}".strip(), *([PROBE] if probed else []), *note(titled), *computed_with(titled)]


def note(titled: list[tuple[str, Result]]) -> list[str]:
    """A table's note on the trainings that differ from the default; a pair is a net's title and a result."""
    said = [", ".join(f"{name} {plain(value)}" for name, value in of(result).items()) for _, result in titled]
    parts = [f"{nets}: {what}" for what, nets in whose(titled, said).items() if what]
    return [f"Not trained as usual: {'; '.join(parts)}."] if parts else []


def computed_with(titled: list[tuple[str, Result]]) -> list[str]:
    """A table's notes on engines, devices and versions of torch, each where there is more than one."""
    notes = []
    for phase in PHASES:
        for title in MIXED:
            said = [said_of(result, phase, FACTS[title]) for _, result in titled]
            if len(set(said)) > 1 or any(_THEN in one for one in said):
                parts = [f"{what} ({nets})" for what, nets in whose(titled, said).items()]
                notes.append(f"{phase.capitalize()} with more than one {title}: {'; '.join(parts)}.")
    return notes


PHASES = ("trained", "tested")
_THEN = ", then "  # between the environments of a training that was resumed in another one


def _engine(environment):
    commit, _, dirty = environment.commit.partition("-")
    return f"{environment.engine} {commit[:12]}{'-dirty' if dirty else ''}".strip()


FACTS = {  # title -> function from an environment to a text
    "engine": _engine,
    "device": lambda one: (one.device or _NOT_RECORDED) + (f", CUDA {one.cuda}" if one.cuda else ""),
    "threads": lambda one: plain(one.threads),
    "precision": lambda one: one.precision,
    "torch": lambda one: one.versions.get("torch", "none"),
    "versions": lambda one: ", ".join(f"{name} {of}" for name, of in one.versions.items()),
}
MIXED = ("engine", "device", "torch")
"""Those of `FACTS` that a note reports if a table's nets differ in them; `of` reports other precisions."""


def said_of(result: Result, phase: str, fact: Callable[[Environment], str]) -> str:
    """One of `FACTS` about a result's training or testing; a training in several environments has several, in order."""
    stretches = [stretch.environment for stretch in result.training]
    environments = stretches if phase == "trained" else [result.evaluation]
    return _THEN.join(dict.fromkeys(map(fact, environments))) or _NOT_RECORDED


def whose(titled: list[tuple[str, Result]], said: list[str]) -> dict[str, str]:
    """Each distinct text -> the nets and folds whose results it is about, or ``all nets``."""
    folds: dict[str, set] = {}  # net -> its folds
    concerned: dict[str, dict[str, set]] = {}  # text -> net -> folds
    for (title, result), text in zip(titled, said, strict=True):
        net = f"{title} {SUBSET_TITLES[result.config.subset]}"
        folds.setdefault(net, set()).add(result.config.fold)
        concerned.setdefault(text, {}).setdefault(net, set()).add(result.config.fold)
    named = {}
    for text, nets in concerned.items():
        parts = [
            net if of_net == folds[net] else f"{net} fold {' '.join(map(str, sorted(of_net)))}"
            for net, of_net in nets.items()
        ]
        named[text] = "all nets" if nets == folds else ", ".join(parts)
    return named
