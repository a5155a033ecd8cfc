"""What the pages name is there: pages, headings, files and tests."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, text_of

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
