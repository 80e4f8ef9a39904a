"""What the tests of the node share."""

import pytest


@pytest.fixture
def archive():
    """A PACS that keeps what it is sent."""
    from fake_archive import Archive

    archive = Archive().start()
    yield archive
    archive.stop()
