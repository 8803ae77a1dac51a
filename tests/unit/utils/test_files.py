"""Files are whole or absent."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.utils.errors import UserError
from sentiment.utils.files import (
    digests,
    read_json,
    read_text,
    replacing,
    sha256,
    write_if_changed,
    write_json,
    write_whole,
)


def test_written_file_holds_the_content_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "folder" / "list.txt"
    write_whole(path, "a é\n")
    assert path.read_bytes() == "a é\n".encode()
    assert os.listdir(path.parent) == ["list.txt"]


def test_written_file_is_readable_as_the_users_mask_says(tmp_path):
    plain, whole = tmp_path / "plain", tmp_path / "whole"
    plain.write_text("")
    write_whole(whole, "")
    assert whole.stat().st_mode == plain.stat().st_mode


def test_a_failure_in_the_middle_leaves_the_old_file(tmp_path):
    path = tmp_path / "weights.caffemodel"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as part:
        part.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["weights.caffemodel"]


def test_temporary_name_keeps_the_suffix(tmp_path):
    with replacing(tmp_path / "state.h5") as part:
        assert part.suffix == ".h5"
        part.write_bytes(b"x")


def test_output_under_a_file_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/list\.txt: (Not a directory|File exists)"):
        write_whole(tmp_path / "file" / "list.txt", "x")


def test_an_error_reading_something_else_is_not_called_a_write_error(tmp_path):
    elsewhere = tmp_path / "absent" / "input"
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "out" / "copy") as part:
        part.write_bytes(elsewhere.read_bytes())


def test_unchanged_content_is_not_written_again(tmp_path):
    path = tmp_path / "train.txt"
    assert write_if_changed(path, "a 1\n")
    before = path.stat().st_mtime_ns, path.stat().st_ino
    assert not write_if_changed(path, "a 1\n")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    assert write_if_changed(path, "b 1\n")
    assert path.read_text() == "b 1\n"


@given(content=st.binary(max_size=300))
def test_digests_are_those_of_hashlib(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(content)
    assert sha256(path) == hashlib.sha256(content).hexdigest()
    assert digests(path, "sha1")["sha1"] == hashlib.sha1(content).hexdigest()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=json_values)
def test_json_comes_back(value, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "value.json"
    write_json(path, value)
    assert read_json(path) == value


def test_wrong_json_names_file_and_line(tmp_path):
    path = tmp_path / "run.json"
    path.write_text('{\n"a": 1,\n"b": x}')
    with pytest.raises(UserError, match=r"run\.json, line 3: not valid JSON"):
        read_json(path)


def test_missing_and_binary_files_are_sentences(tmp_path):
    with pytest.raises(UserError, match="cannot read .*absent: No such file or directory"):
        read_text(tmp_path / "absent")
    (tmp_path / "image").write_bytes(b"abc\xff")
    with pytest.raises(UserError, match=r"image is not a text file \(byte 3 is not UTF-8\)"):
        read_text(tmp_path / "image")
