"""The files asked for are taken out of an archive, unchanged, to the places given, and nothing else."""

import gzip
import hashlib
import lzma
import tarfile
import zipfile
from pathlib import Path

import pytest

from helpers.packed import tarred, zipped
from sentiment.sources import archives
from sentiment.sources.archives import Member

CONTENT = b"weights" * 1000


def link(name, target, kind):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.fixture
def extract(tmp_path):
    (tmp_path / "out").mkdir()

    def call(archive, *names, **more):
        path = tmp_path / "archive"
        path.write_bytes(archive)
        before = sorted(tmp_path.iterdir())
        found = archives.extract(path, {name: Member(tmp_path / "out" / name, **more) for name in names})
        assert sorted(tmp_path.iterdir()) == before
        return found

    return call


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    "place", ["net", "a/b/net", "/net", "../../net", "a/../net", "a\\b\\net", "C:\\net", "./net", "Agg/NET", "//a/net"]
)
def test_no_path_in_it_decides_where_a_file_goes(extract, tmp_path, pack, place):
    assert extract(pack([("readme", b"no"), (place, CONTENT), ("a/other", b"no")]), "net", "absent") == (["absent"], [])
    assert (tmp_path / "out" / "net").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["net"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_only_regular_files_of_a_tar_are_taken(extract, tmp_path, kind):
    assert extract(tarred([(link("net", "/etc/passwd", kind), None)]), "net") == (["net"], [])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_hard_link_within_a_tar_is_the_file_it_leads_to(extract, tmp_path):
    assert extract(tarred([("a/one", CONTENT), (link("a/two", "a/one", tarfile.LNKTYPE), None)]), "two") == ([], [])
    assert (tmp_path / "out" / "two").read_bytes() == CONTENT


def test_links_and_folders_in_a_zip_are_not_taken(extract, tmp_path):
    symbolic = zipfile.ZipInfo("net")
    symbolic.external_attr = 0o120777 << 16
    assert extract(zipped([(symbolic, b"/etc/passwd"), ("a/net/", b"")]), "net") == (["net"], [])
    assert extract(zipped([("a/net/", b""), (symbolic, b"/etc/passwd"), ("b/net", CONTENT)]), "net") == ([], [])
    assert (tmp_path / "out" / "net").read_bytes() == CONTENT


def test_a_hard_link_never_leads_through_a_symbolic_one(extract, tmp_path):
    entries = [("a", CONTENT), (link("a", "zz", tarfile.SYMTYPE), None), (link("net", "a", tarfile.LNKTYPE), None)]
    assert extract(tarred(entries), "net") == ([], [])
    assert (tmp_path / "out" / "net").read_bytes() == CONTENT


def test_a_name_of_many_megabytes_is_not_read(extract):
    entry = tarfile.TarInfo("././@LongLink")
    entry.type = tarfile.GNUTYPE_LONGNAME
    with pytest.raises(ValueError, match="archive"):
        extract(tarred([(entry, bytes(50_000_000)), ("net", CONTENT)]), "net")


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_of_files_of_one_name_the_right_one_is_taken(extract, tmp_path, pack):
    digest = hashlib.sha256(CONTENT).hexdigest()
    archive = pack([("thumbs/net", b"small"), ("net", CONTENT), ("old/net", b"other")])
    assert extract(archive, "net", sha256=digest) == ([], [])
    assert (tmp_path / "out" / "net").read_bytes() == CONTENT
    assert extract(archive, "net", sha256="0" * 64) == ([], ["net"])
    assert extract(archive, "net") == ([], [])
    assert (tmp_path / "out" / "net").read_bytes() == b"small"


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_what_unpacks_to_too_much_is_not_written(extract, tmp_path, pack):
    bomb = pack([("net", bytes(50_000_000))])
    assert len(bomb) < 100_000
    assert extract(bomb, "net", limit=1000) == (["net"], [])
    assert list((tmp_path / "out").iterdir()) == []
    assert extract(pack([("a/net", bytes(2000)), ("b/net", b"right")]), "net", limit=1000) == ([], [])
    assert (tmp_path / "out" / "net").read_bytes() == b"right"


def test_a_file_longer_than_it_says_is_refused(extract):
    archive = bytearray(zipped([("net", bytes(5000))]))
    size = (5000).to_bytes(4, "little")
    place = archive.rindex(size)  # in the directory at the end, which is what is believed
    archive[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(ValueError, match="damaged"):
        extract(bytes(archive), "net", limit=1000)


def test_a_tar_that_unpacks_to_too_much_is_refused(extract, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_TAR", 10_000)
    with pytest.raises(ValueError, match="unpacks to more than 10,000 bytes"):
        extract(tarred([("a", bytes(20_000)), ("net", CONTENT)]), "net")


def damaged(archive, place):
    archive = bytearray(archive)
    archive[place] ^= 0x10
    return bytes(archive)


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"<html>",
        CONTENT,
        zipped([("net", CONTENT)])[:-30],
        damaged(zipped([("net", CONTENT)], zipfile.ZIP_STORED), 2000),
        tarred([("net", CONTENT)], "w")[:3000],
        tarred([("net", CONTENT)])[:40],
        gzip.compress(tarred([("net", CONTENT)], "w"))[:-4] + b"\0\0\0\0",  # its length, said at its end
        damaged(gzip.compress(tarred([("net", CONTENT)], "w")), -6),  # its checksum
        damaged(lzma.compress(tarred([("net", CONTENT)], "w")), 60),
        zipped([("net", CONTENT)]).replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
            b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
        ),  # encrypted, it says
    ],
    ids=["empty", "page", "data", "zip", "crc", "tar", "tar.gz", "length", "checksum", "xz", "encrypted"],
)  # fmt: skip
def test_a_damaged_or_encrypted_archive_is_a_reason(extract, archive):
    with pytest.raises(ValueError, match="archive|unexpected end|Compressed file ended"):
        extract(archive, "net")


def test_a_full_disk_is_not_a_damaged_archive(tmp_path):
    path = tmp_path / "archive.zip"
    path.write_bytes(zipped([("net", CONTENT)]))
    with pytest.raises(OSError, match="No space left on device"):
        archives.extract(path, {"net": Member(Path("/dev/full"))})
