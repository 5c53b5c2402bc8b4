"""How Sphinx builds these pages: ``sphinx-build -W -n -b html docs OUTPUT``."""

from __future__ import annotations

import re
from importlib import metadata, util

from sphinx.application import Sphinx

project = "tinkex"
author = "The tinkex authors"
version = release = metadata.version("tinkex")
project_copyright = author

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "py:obj"  # names in single backquotes are links, where there is something to link to
rst_prolog = ".. py:currentmodule:: tinkex"
exclude_patterns = ["_build"]
nitpick_ignore_regex = [
    ("py:.*", r"(?!tinkex).*"),  # other projects' names are not linked, so that a build needs no network
    ("py:.*", r"tinkex\.(_|.*\._|credentials).*"),  # what a public signature shows of the inside
    ("py:.*", r"tinkex\..*\.(T|Row|Stop|ImageFormat|TensorDtype|Chunk|TextEncoder|TextDecoder)"),  # stand for types
]

autodoc_mock_imports = [name for name in ("opentelemetry", "prometheus_client") if util.find_spec(name) is None]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # also keeps the environment of whoever builds out of a signature
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "undoc-members": False}
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

toc_object_entries_show_parents = "hide"
html_theme = "furo"
html_title = f"tinkex {version}"
html_static_path = ["_static"]
html_css_files = ["tinkex.css"]
html_show_sphinx = False
html_copy_source = False


def _prepare(_app: object, what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Keep Napoleon from taking what stands before a colon for an attribute's type, and let a plural follow a name."""
    if what in {"attribute", "property", "data"}:
        lines[:0] = ["..", ""]
    lines[:] = [re.sub(r"(`\w+`)s\b", r"\1\\ s", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _prepare, priority=100)  # before Napoleon's
