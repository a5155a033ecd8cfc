"""What the pages name is there: pages, headings, files and tests."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, text_of
from tests.test_guarantees import functions_of

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
_LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")
_CODE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def links_of(page):
    """Target, heading and the text of each link that leads to something here."""
    return [match.groups("") for match in _LINK.finditer(_CODE.sub("", text_of(page)))]


def headings_of(page):
    """The headings as links name them."""
    titles = re.findall(r"^#+ (.*)$", _CODE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """Pages, files and headings are there."""
    folder = (ROOT / page).parent
    lost = []
    for target, heading in links_of(page):
        path = folder / target if target else ROOT / page
        if not path.exists() or (heading and heading not in headings_of(path)):
            lost.append(f"{target}#{heading}")

    assert [] == lost


def test_features_of_the_starting_document_are_shown():
    """Each has a page, an example and a test, which is in the file that is linked."""
    rows = re.findall(r"^\| (.*) \|$", text_of("docs/parity.md"), re.MULTILINE)
    features = [row.split(" | ") for row in rows if not row.startswith("in the document")]
    tests = [re.search(r"\[([\w ]+)\]\(\.\./(.*?)\)", cells[3]).groups() for cells in features]
    named = [("test_" + words.replace(" ", "_"), path) for words, path in tests]

    assert [] == [name for name, path in named if name not in functions_of(path)]
    assert all("](" in cells[1] and "](../examples/" in cells[2] for cells in features)
    assert len(features) > 20
