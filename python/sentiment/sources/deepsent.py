"""The DeepSent Twitter images: where their archive is had, and a DATA folder made from it.

What comes by a link has to be the known images byte for byte (``splits/deepsent_manifest.tsv``); no publisher gives
checksums.
"""

import contextlib
import os
import tempfile
from pathlib import Path

from sentiment import paper
from sentiment.data import dataset, folds, image_files
from sentiment.sources import archives, download
from sentiment.utils import files, locks
from sentiment.utils.errors import UserError
from sentiment.utils.progress import patience

LINKS = (  # the address in the paper is gone since 2021
    download.Link(
        "https://drive.usercontent.google.com/download?id=1Jw6Bv8nFN3s4TFVMRcIfIC1Q3zOfwpib&export=download&confirm=t"
    ),
    download.Link("https://codeload.github.com/johnwsh/twitterDataset/zip/4604b72f99303fc8e814de37dc90f17fe39aa5bb"),
)
_ELSEWHERE = (
    "get the archive elsewhere (github.com/imatge-upc/sentiment-2017-imavis links it, "
    "github.com/johnwsh/twitterDataset has it) and give it with --archive FILE or `make data ARCHIVE=FILE`, or its "
    "unpacked folder as DATA"
)


def fetch(out, archive=None):
    """Make a DATA folder of the images and the labels this project knows, or put in what it lacks; says so.

    Parameters
    ----------
    out : Path
    archive : str, optional
        A path or an address to take the images from, instead of `LINKS`.

    Raises
    ------
    UserError
        They cannot be had, or the folder holds something else.
    """
    out = out.resolve()  # it may be a link to a larger disk
    if archive and download.is_local(download.Link(archive)) and not Path(archive).expanduser().is_file():
        folder = "a folder; give it as DATA" if Path(archive).expanduser().is_dir() else "no file there"
        raise UserError(f"ARCHIVE: {archive} is {folder}")
    known, made = dataset.manifest(), not out.exists()
    try:
        if _lacking(out, known):
            with locks.held(out, "fetching the DeepSent images"):
                if missing := _lacking(out, known):  # still, after waiting for another process
                    _check_own(out, known)
                    _bring(out, {name: known[name] for name in missing}, archive)
        _write_labels(out)
    finally:
        with contextlib.suppress(OSError):  # what is not empty stays
            if made:
                out.rmdir()
    print(f"{out} has all {len(known):,} images")
    with patience("holding the images against the known ones"):
        others = [name for name, row in known.items() if files.sha256(out / "images" / name) != row["sha256"]]
    if others:
        print(f"  {_of_them(others)} not byte for byte as known; what is removed is fetched anew")


def _lacking(out, known):
    """The images that a DATA folder has not."""
    return [name for name in known if not (out / "images" / name).is_file()]


def _of_them(names):
    """How many, and which; some of many."""
    return f"{len(names):,} of them ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _check_own(out, known):
    """Refuse a folder that holds anything but these images, or nothing of them and something else."""
    there = {path.name for path in out.iterdir()} - {locks.NAME, ".DS_Store"}
    images = {path.name for path in (out / "images").iterdir()} if "images" in there else set()
    labels = [out / f"twitter_{subset}.txt" for subset in paper.SUBSETS]
    listed = {name for path in labels if path.is_file() for name, _ in dataset.read_labels(path)}
    ours = images & known.keys() or there <= {"images", "models", *(path.name for path in labels)}
    if not ours or not listed <= known.keys() or (images and not images & known.keys()):
        hint = "give it as DATA" if "Agg_AMT_Candidates" in there else "give another folder as DATA, or by --out"
        raise UserError(f"{out} is there and is not of the DeepSent images; {hint}")


def _bring(out, missing, archive):
    """Put the images that are missing into a DATA folder."""
    links = (download.Link(archive),) if archive else LINKS
    images = out / "images"
    place = images.resolve() if images.exists() else out  # on the same disk, where a move is at once
    if place != out:
        files.sweep(place)
    with tempfile.TemporaryDirectory(prefix=".deepsent.", suffix=".part", dir=place) as part:
        taken = Path(part) / "images"
        taken.mkdir()
        # What a user has is taken though it differs; a link is left for the next one.
        reasons = download.first_of(
            links, lambda link: _unpack(link, missing, taken, out, bool(archive)), "the DeepSent images"
        )
        if reasons and archive:
            raise UserError(f"ARCHIVE: {archive}: {reasons}; give another, or its unpacked folder as DATA")
        if reasons:
            raise UserError(f"the DeepSent images cannot be had ({reasons}); {_ELSEWHERE}")
        if place == out:
            os.replace(taken, images)
        else:
            for name in missing:
                os.replace(taken / name, place / name)


def _unpack(link, missing, folder, out, differing_too):
    """Take images out of an archive."""
    with download.opened(link, out.parent, out.name) as archive:
        # An image may be packed otherwise elsewhere, but not be many times as long.
        wanted = {
            name: archives.Member(folder / name, 4 * row["bytes"] + (1 << 20), row["sha256"])
            for name, row in missing.items()
        }
        absent, differing = archives.extract(archive, wanted)
    if absent:
        raise ValueError(f"{_of_them(absent)} are not in it" if len(absent) < len(missing) else "none of them is in it")
    if differing and not differing_too:
        raise ValueError(f"{_of_them(differing)} are not those known; ARCHIVE={link.url} takes them all the same")
    if bad := [name for name in differing if not _is_picture(folder / name)]:
        raise ValueError(f"{_of_them(bad)} are no pictures")


def _is_picture(path):
    """Whether a file can be decoded as one."""
    try:
        image_files.read(path)
    except UserError:
        return False
    return True


def _write_labels(out):
    """Write the label files that are not there."""
    for subset in paper.SUBSETS:
        path = out / f"twitter_{subset}.txt"
        if not path.is_file():
            files.write_whole(path, folds.list_text(dataset.manifest_labels(subset)))
