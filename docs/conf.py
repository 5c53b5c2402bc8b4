"""How Sphinx builds these pages: ``sphinx-build -W -n -b html docs OUTPUT``."""

from __future__ import annotations

import re
from importlib import metadata, util
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).parent

project = "tinkex"
author = "The tinkex authors"
version = release = metadata.version("tinkex")
project_copyright = author

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
autosummary_generate = False
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
html_js_files = ["copy.js", "moved.js"]
html_show_sphinx = False
html_copy_source = False


def _prepare(_app: object, what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Keep Napoleon from taking what stands before a colon for an attribute's type, and let a plural follow a name."""
    if what in {"attribute", "property", "data"}:
        lines[:0] = ["..", ""]
    lines[:] = [re.sub(r"(`\w+`)s\b", r"\1\\ s", line) for line in lines]


def _names_on(page: re.Match[str]) -> str:
    """Return a link to a page of the reference, and the names on it, each with its first sentence."""
    text = (HERE / f"{page[1]}.rst").read_text("utf-8")
    names = re.findall(r"^\.\. auto(?!module)\w+:: tinkex\.([\w.]+)", text, re.MULTILINE)
    listed = "".join(f"   {name}\n" for name in names)
    return f":doc:`{page[1]}`\n\n.. autosummary::\n   :nosignatures:\n\n{listed}"


def _list_names(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Put the names on a page of the reference where the index says ``.. names-on:: PAGE``."""
    source[0] = re.sub(r"^\.\. names-on:: (\S+)$", _names_on, source[0], flags=re.MULTILINE)


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _list_names)
    app.connect("autodoc-process-docstring", _prepare, priority=100)  # before Napoleon's
