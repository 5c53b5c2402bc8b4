"""The gallery shows what its script makes, and nothing else; the slow tier makes it anew."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
from browsing import chromium

DOCS = pathlib.Path(__file__).parents[2] / "docs"
GALLERY = DOCS / "gallery"
SCRIPT = GALLERY / "make.py"
KINDS = (".html", ".svg", ".webp")
MADE = {
    f"{name}{kind}" for name, kind in re.findall(r'"(\w+)(\.html|\.svg|\.webp)"', SCRIPT.read_text(encoding="utf-8"))
}
MADE -= {"report.html", "logprobs.html"}  # pages that pictures are taken of


def kept():
    """The files that the page shows, by their names."""
    return {file.name: file for file in GALLERY.iterdir() if file.suffix in KINDS}


def test_every_picture_is_made_by_the_script():
    """What the page shows, what the folder has and what the script makes are the same; the README shows one of it."""
    page = (DOCS / "gallery.rst").read_text(encoding="utf-8")
    shown = re.findall(r"(?:image|:file):: ?gallery/(\S+)|:file: gallery/(\S+)", page)
    assert sorted(one or other for one, other in shown) == sorted(MADE) == sorted(kept())
    others = set(re.findall(r"image:: (?!gallery/)(\S+)", page))
    assert others == {"performance/cost.svg", "performance/latency.svg"}  # those of the benchmarks
    readme = (DOCS.parent / "README.rst").read_text(encoding="utf-8")
    assert {name.rpartition("/")[2] for name in re.findall(r"image:: (docs/gallery/\S+)", readme)} <= MADE


def test_pictures_are_light():
    """All of them together are less than a megabyte, the one of the README less than 50 kB; none fetches anything."""
    sizes = {name: file.stat().st_size for name, file in kept().items()}
    assert sum(sizes.values()) < 1_000_000
    assert sizes["side_by_side.webp"] < 50_000
    for name, file in kept().items():
        if not name.endswith(".webp"):
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"(src|href)=|url\((?!#)|@import|@font-face", text), name


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_script(tmp_path):
    """One command makes every file anew, pictures of the size that they have here."""
    image = pytest.importorskip("PIL.Image")
    for needed in ("altair", "gguf", "playwright"):
        pytest.importorskip(needed)
    with chromium():  # else the test is skipped
        pass
    ended = subprocess.run([sys.executable, SCRIPT, tmp_path], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert {file.name for file in tmp_path.iterdir()} == MADE
    for name in MADE:
        if name.endswith(".webp"):
            with image.open(tmp_path / name) as new, image.open(GALLERY / name) as old:
                assert new.width == old.width
        else:
            assert 3_000 < (tmp_path / name).stat().st_size < 50_000
