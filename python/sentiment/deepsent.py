"""The DeepSent Twitter images: where their archive is had, and a DATA folder made from it.

What comes by a link has to be the known images byte for byte (``splits/deepsent_manifest.tsv``); no publisher gives
checksums.
"""

import os
import tempfile
from pathlib import Path

from sentiment import archives, dataset, download, files, folds, locks, paper, pictures
from sentiment.console import UserError

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
    known = dataset.manifest()
    if _lacking(out, known):
        with locks.held(out.parent, "fetching the DeepSent images"):
            if missing := _lacking(out, known):  # still, after waiting for another process
                _bring(out, {name: known[name] for name in missing}, archive)
    _write_labels(out)
    print(f"{out} has all {len(known):,} images")
    sizes = {name: (out / "images" / name).stat().st_size for name in known}
    if others := [name for name in known if sizes[name] != known[name]["bytes"]]:
        print(f"  {_of_them(others)} not byte for byte as known; what is removed is fetched anew")


def _lacking(out, known):
    """The images that a DATA folder has not."""
    return [name for name in known if not (out / "images" / name).is_file()]


def _of_them(names):
    """How many, and which; some of many."""
    return f"{len(names):,} of them ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _bring(out, missing, archive):
    """Put the images that are missing into a DATA folder, all or none of them."""
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    if there and "images" not in there:
        hint = "; give it as DATA" if "Agg_AMT_Candidates" in there else ", or give another --out"
        raise UserError(f"{out} is there and is not a folder this command made; move it away{hint}")
    links = (download.Link(archive),) if archive else LINKS
    with tempfile.TemporaryDirectory(prefix=".deepsent.", suffix=".part", dir=out.parent) as part:
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
        out.mkdir(parents=True, exist_ok=True)
        if "images" in there:
            for name in missing:
                os.replace(taken / name, out / "images" / name)
        else:
            os.replace(taken, out / "images")


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
        pictures.read(path)
    except UserError:
        return False
    return True


def _write_labels(out):
    """Write the label files that are not there."""
    for subset in paper.SUBSETS:
        path = out / f"twitter_{subset}.txt"
        if not path.is_file():
            files.write_whole(path, folds.list_text(dataset.manifest_labels(subset)))
