"""tools/inspect_model.py as a user runs it."""

from helpers.commands import refused


def test_it_says_what_a_source_is(tool, source, capfd, tmp_path):
    assert tool("inspect_model", source) == 0
    said = capfd.readouterr().out
    for words in (
        "format      current",
        "SHA-256     ",
        "known as    no ",
        "conv1  6×3×11×11 and 6  Convolution",
        "last layer  fc8, 5 outputs",
        "fits        ARCH=finetune fc7-2 fc6-2 fc9 fc9-frozen probe, with channels_divisor: 16 in ",
        "not squeezenet: conv1",
    ):
        assert words in said
    path = tmp_path / "page.caffemodel"
    path.write_text("<html>404</html>")
    assert "it is a web page" in refused(tool, capfd, "inspect_model", path)
