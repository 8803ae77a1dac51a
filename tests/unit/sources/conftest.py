"""What the tests of downloads share: a server on this machine."""

import pytest

from helpers.bad_server import serving
from sentiment.sources import http_files


@pytest.fixture
def server(pages, monkeypatch):
    """The address of a server of the module's ``pages``, path -> content; a failed download is tried again at once."""
    monkeypatch.setattr(http_files, "PAUSE", 0)
    with serving(pages) as address:
        yield address
