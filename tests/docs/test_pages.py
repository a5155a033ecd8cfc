"""Every block of Python of every page runs, and prints what the page says that it prints."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT, python_of, text_of

PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
# Its blocks are the files of an application: tests/testing/test_testing_page.py runs them.
FILES = "docs/testing.md"
WITH_PYTHON = [page for page in PAGES if python_of(page) and page != FILES]
# What stands in a file above what the page shows of it.
ABOVE = {"docs/web.md": {"INSTALLED_APPS": []}}


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_page_runs(program, page):
    """As one program against the embedded server; what it prints stands below it."""
    program.names.update(ABOVE.get(page, {}))

    program.run_page(page)


@pytest.mark.parametrize("page", PAGES)
def test_no_block_is_passed_over(page):
    """What a reader takes for a block of Python is one to the tests, too."""
    fences = re.findall(r"^.*```+ *\{?py.*$", text_of(page), re.MULTILINE)

    assert ["```python"] * len(python_of(page)) == fences
