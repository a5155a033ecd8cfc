"""How Sphinx makes pages of this folder: make docs."""

from __future__ import annotations

from sphinx.application import Sphinx

import cloudllm_sync

project = "cloudllm_sync"
author = "cloudllm_sync contributors"
version = release = cloudllm_sync.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["build"]
html_theme = "furo"
html_title = "cloudllm_sync"
html_show_copyright = False
html_copy_source = False

# What is named in the pages has to be there: links, headings, files, and names of this package.
nitpicky = True
nitpick_ignore_regex = [
    ("py:.*", r"(?!cloudllm_sync\.).*|cloudllm_sync\..*(\._Object|\.ChatRequest)")
]
myst_heading_anchors = 3

# `Name` in a docstring is a link where there is such a name, and code everywhere else.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_custom_sections = [("What", "params_style"), ("How", "params_style")]


def link_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Has MyST take links that lead out of this folder for files, and not for pages."""
    if "/" not in page:
        source[0] = source[0].replace("](../", "](path:../")


def keep_colons(
    app: Sphinx, what: str, name: str, found: object, options: object, lines: list[str]
) -> None:
    """Has napoleon take the first line of an attribute for words, whatever colons are in it."""
    if what in ("attribute", "data", "property") and lines:
        lines[0] = f":{lines[0]}"  # it takes what stands before a colon for the type


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # napoleon's is 500
    app.connect("source-read", link_files)
