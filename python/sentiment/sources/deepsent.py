"""The DeepSent Twitter images and their folds: where to download them, and making a DATA folder from their archive.

Downloaded images must be those of ``splits/deepsent_manifest.tsv`` byte for byte; no publisher gives checksums.
"""

import contextlib
import os
import tempfile
from pathlib import Path

from sentiment import paper
from sentiment.data import dataset, folds, image_files, lists
from sentiment.sources import archives, download
from sentiment.utils import files, locks
from sentiment.utils.errors import UserError
from sentiment.utils.progress import patience

LINKS = (  # the address in the paper has been dead since 2021
    download.Link("https://codeload.github.com/johnwsh/twitterDataset/zip/4604b72f99303fc8e814de37dc90f17fe39aa5bb"),
    download.Link(  # of the images' author
        "https://api.onedrive.com/v1.0/shares/s!AqDZbp_iImWrhqI8k_S2uLqab_urdg/root/content"
    ),
    download.Link(  # of the paper's authors
        "https://drive.usercontent.google.com/download?id=1Jw6Bv8nFN3s4TFVMRcIfIC1Q3zOfwpib&export=download&confirm=t"
    ),
)
_ELSEWHERE = (
    "get the archive elsewhere and give it by --archive FILE or `make data ARCHIVE=FILE`, or its unpacked folder as "
    "DATA\n  where to look: the author's page, qzyou.github.io/projects/sa-ds; "
    "github.com/imatge-upc/sentiment-2017-imavis, which links it; github.com/johnwsh/twitterDataset, which has it; "
    "drive.google.com/drive/folders/1aZupURbXcwoDOf6vxFkXliD09QtCTMeG"
)
_AUTHORS = "the folder ground_truth of github.com/imatge-upc/sentiment-2017-imavis"
_FOLDS = "https://raw.githubusercontent.com/imatge-upc/sentiment-2017-imavis"
_FOLD_LINKS = (f"{_FOLDS}/882d37a9d47adf7a49fa94805cabdd79bacd6b29/ground_truth", f"{_FOLDS}/master/ground_truth")
_DOWNLOADED_FOLDS = files.PROJECT / "data" / "ground_truth"


def fetch(out: Path, archive: str | None = None):
    """Make a DATA folder of the images and their known labels, or add what it lacks; prints the outcome.

    ``archive`` is a path or an address to take the images from, instead of `LINKS`. A `UserError` says that the images
    cannot be obtained, or that the folder holds something else.
    """
    out = out.resolve()  # it may be a link to a larger disk
    new = not out.exists()
    try:
        if _missing(out):
            with locks.held(out, "fetching the DeepSent images"):
                if missing := _missing(out):  # still, after waiting for another process
                    _check_own(out)
                    _add(out, missing, archive)
        for subset in paper.SUBSETS:
            path = out / f"twitter_{subset}.txt"
            if not path.is_file():
                files.write_whole(path, lists.text(dataset.manifest_labels(subset)))
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            if new:
                out.rmdir()
    known = dataset.manifest()
    print(f"{out} has all {len(known):,} images")
    with patience("comparing the images with the known ones"):
        others = [name for name, row in known.items() if files.sha256(out / "images" / name) != row["sha256"]]
    if others:
        print(f"  {_some(others)} differ from the known ones; remove them and run the command again to fetch them")


def published_fold(subset: str, number: int, folder: Path | None = None, written: Path | None = None) -> folds.Fold:
    """One fold as the authors published it, checked by its lists' checksums.

    The lists are read from ``folder``, the authors' folder ``ground_truth``. Without it, those that are already in
    ``written``, a folder of the same layout, are used, and the others are downloaded. A `UserError` says that a list
    cannot be read or downloaded, or is not the published one.
    """
    names = [folds.relative_path(subset, number, part) for part in folds.PARTS]
    return folds.Fold(*[lists.read(_published_list(name, folder, written)) for name in names])


def _published_list(name, folder, written):
    """The path of one of the authors' lists, checked."""
    expected = folds.published_facts()[name]["sha256"]
    if folder:
        path = folder / name
        if not path.is_file() or files.sha256(path) != expected:
            problem = "is not the list the authors published" if path.is_file() else "does not exist"
            raise UserError(f"PUBLISHED: {path} {problem} (SHA-256 {expected}); give {_AUTHORS}")
        return path
    if written and (written / name).is_file() and files.sha256(written / name) == expected:
        return written / name
    wanted = download.Wanted(
        path=_DOWNLOADED_FOLDS / name,
        key=name,
        links=tuple(download.Link(f"{link}/{name}") for link in _FOLD_LINKS),
        digests={"sha256": expected},
        where=f"{_AUTHORS}; or PUBLISHED=<that folder>",
    )
    return download.obtain(wanted)[0]


def _missing(out):
    """The known images that a DATA folder lacks, with their facts."""
    return {name: row for name, row in dataset.manifest().items() if not (out / "images" / name).is_file()}


def _some(names):
    """How many images these are, and the names of the first three."""
    return f"{len(names):,} of the images ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"


def _check_own(out):
    """Refuse a folder that holds other files than the DeepSent images."""
    known = dataset.manifest().keys()
    labels = {f"twitter_{subset}.txt" for subset in paper.SUBSETS}
    present, images = ({path.name for path in folder.glob("[!.]*")} for folder in (out, out / "images"))
    listed = {name for file in labels & present for name, _ in lists.read(out / file)}
    empty = not images and present <= {"images", "models", *labels}
    if not (images & known or empty) or not listed <= known:
        advice = "give it as DATA" if "Agg_AMT_Candidates" in present else "give another folder as DATA, or by --out"
        raise UserError(f"{out} holds other files than the DeepSent images; {advice}")


def _add(out, missing, archive):
    """Add the missing images to a DATA folder."""
    links = (download.Link(archive),) if archive else LINKS
    images = out / "images"
    place = images.resolve() if images.exists() else out  # on the images' disk, so that a move is a rename
    files.sweep(place)
    with tempfile.TemporaryDirectory(prefix=".deepsent.", suffix=".part", dir=place) as folder:
        reasons = download.first_of(
            links,
            out,
            lambda link, path: _unpack(path, missing, Path(folder), None if archive else link.url),
            "the DeepSent images",
        )
        if reasons and archive:
            raise UserError(f"ARCHIVE: {archive}: {reasons}; give another, or its unpacked folder as DATA")
        if reasons:
            raise UserError(f"the DeepSent images cannot be downloaded ({reasons})\n  {_ELSEWHERE}")
        images.mkdir(exist_ok=True)
        for name in missing:
            os.replace(Path(folder) / name, images / name)
    download.forget(out, links)


def _unpack(archive, missing, folder, link):
    """Extract the missing images; an archive of the user's (``link`` is None) may contain them re-encoded."""
    # The limits leave room for re-encoded images.
    wanted = {
        name: archives.Member(folder / name, 4 * row["bytes"] + (1 << 20), row["sha256"])
        for name, row in missing.items()
    }
    absent, differing = archives.extract(archive, wanted)
    if len(absent) == len(missing):
        raise ValueError("the archive has none of the images")
    if absent:
        raise ValueError(f"{_some(absent)} are not in the archive")
    if differing and link:
        raise ValueError(f"{_some(differing)} differ from the known ones; ARCHIVE={link} takes them anyway")
    if bad := [name for name in differing if not _is_image(folder / name)]:
        raise ValueError(f"{_some(bad)} cannot be decoded")


def _is_image(path):
    """Whether a file can be decoded as an image."""
    try:
        image_files.read(path)
    except UserError:
        return False
    return True
