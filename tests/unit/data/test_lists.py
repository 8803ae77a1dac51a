"""Lists of images: what is read, and which line is wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentiment.data import lists
from sentiment.utils.errors import UserError

name_characters = st.characters(codec="utf-8", categories=["L", "N", "P", "S"]) | st.just(" ")
image_names = st.text(name_characters, min_size=1, max_size=20).map(str.strip).filter(bool)


@given(pairs=st.lists(st.tuples(image_names, st.sampled_from([0, 1])), min_size=1, max_size=8))
def test_labels_come_back_from_their_lines(pairs, tmp_path_factory):
    path = tmp_path_factory.mktemp("labels") / "list.txt"
    path.write_text(lists.text(pairs), encoding="utf-8")
    assert lists.read(path) == pairs


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "list").write_bytes(b"\xef\xbb\xbfa.jpg 1\r\nb.jpg 0\r\n")
    assert lists.read(tmp_path / "list") == [("a.jpg", 1), ("b.jpg", 0)]


def test_blanks_at_line_ends_and_empty_lines_do_not_matter(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"in a folder/my cat.jpg 1 \r\n\r\nb.jpg 0")
    assert lists.read(path) == [("in a folder/my cat.jpg", 1), ("b.jpg", 0)]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("b.jpg", "line 2: no label after the image name 'b.jpg'"),
        ("b.jpg 2", r"line 2: label '2' is not 0 \(negative\) or 1 \(positive\)"),
        ("b.jpg -1", "line 2: label '-1' is not"),
        ("b.jpg 1.0", "line 2: label '1.0' is not"),
        ("my cat.jpg", r"line 2: label 'cat.jpg' is not .* is the label missing\?"),
        ("1 my cat.jpg", "line 2: .* the name comes first, as in `my cat.jpg 1`"),
        ("my cat.jpg\t1", "line 2: .* with a blank before the label"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, sentence):
    path = tmp_path / "list.txt"
    path.write_text(f"a.jpg 1\n{line}\n")
    with pytest.raises(UserError, match=rf"list\.txt, {sentence}"):
        lists.read(path)


def test_empty_list_is_a_sentence(tmp_path):
    (tmp_path / "list.txt").write_text("\n")
    with pytest.raises(UserError, match=r"list\.txt lists no image"):
        lists.read(tmp_path / "list.txt")


def test_labels_of_more_than_two_classes(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a.jpg 11\nb.jpg 0\n")
    assert lists.read(path, classes=12) == [("a.jpg", 11), ("b.jpg", 0)]
    with pytest.raises(UserError, match=r"list\.txt, line 1: .*'11'.* 10"):
        lists.read(path, classes=11)
