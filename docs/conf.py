"""The docs site: `make docs` builds it offline, with warnings as errors, into docs/_build.

The sources are the repository's own pages and notebooks, so that a link works here and in the repository alike.
"""

from importlib import metadata
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "rta"
author = "the rta contributors"
copyright = author  # noqa: A001 - Sphinx's own name
version = release = metadata.version("rta")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/**",
    "data/README.md",
    "bench/results/*.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
]
exclude_patterns = ["docs/_build", "**/.ipynb_checkpoints"]

myst_heading_anchors = 3  # links to a heading of a page
nb_execution_mode = (
    "off"  # notebooks are committed executed; tests execute them, the site shows them
)
nb_merge_streams = True

suppress_warnings = ["ref.python"]  # `Batch` is an architecture and a micro-batch
default_role = "py:obj"  # `name` in a docstring is a link where there is a page for it
autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # as written, so no path of this machine
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False

html_theme = "pydata_sphinx_theme"
html_title = "rta"
html_static_path = ["_static"]
html_css_files = ["rta.css"]
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "show_nav_level": 1,
    "navigation_depth": 3,
    "collapse_navigation": True,
    "use_edit_page_button": False,
    "footer_start": [],
    "footer_end": [],
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
}
html_sidebars = {
    page: [] for page in ("docs/index", "docs/quickstart", "docs/decisions/0*")
}  # no list beside them


def _keep_drawings(*event: Any) -> None:
    """Show what a module's docstring draws, indented or as a table, as it is drawn."""
    _, what, _, _, _, lines = event
    if what != "module":
        return
    drawn = [line.startswith(("    ", "|")) for line in lines]
    lines[:] = [
        f"    {line}" if inside else line for line, inside in zip(lines, drawn, strict=True)
    ]
    starts = [
        at for at, (before, inside) in enumerate(pairwise([False, *drawn])) if inside and not before
    ]
    for at in reversed(starts):
        lines[at:at] = ["::", ""]


def _stand_alone(app: "Sphinx", _: object) -> None:
    """Results of the bench are linked from a page; no list of pages names them."""
    if app.env.docname.startswith("bench/results/"):
        app.env.metadata[app.env.docname]["orphan"] = True


def setup(app: "Sphinx") -> None:
    """Connect both to the build."""
    app.connect("autodoc-process-docstring", _keep_drawings, priority=100)  # before Napoleon
    app.connect("doctree-read", _stand_alone)
