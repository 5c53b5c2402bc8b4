"""What the project's extras require."""

from __future__ import annotations

import pathlib
import re
import tomllib

PROJECT = tomllib.loads((pathlib.Path(__file__).resolve().parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CORE = [re.match(r"[\w-]+", each)[0] for each in PROJECT["dependencies"]]


def required(extra):
    """The requirements of an extra, those of the extras in it among them: names as indexes have them, and bounds."""
    for requirement in EXTRAS[extra]:
        name, inner, bounds = re.match(r"([\w-]+)(?:\[([^\]]*)\])?([^;]*)", requirement).groups()
        if name == "tinkex":
            for each in inner.split(","):
                yield from required(each)
        else:
            yield name.lower().replace("_", "-"), bounds.strip()


def lowest(extra):
    """The oldest release of each library that an extra takes, as numbers; of those that have a bound."""
    found = {}
    for name, bounds in required(extra):
        if bound := re.match(r">=([\d.]+)", bounds):
            found[name] = max(found.get(name, ()), tuple(map(int, bound[1].split("."))))
    return found
