"""Real servers, the official SDK and programs of others, installed once into a cache and kept there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from chat_families import make as make_families
from environments import environment_of, installed, running_skyrl
from tool_programs import ENVIRONMENTS, install_tinkex, programs_of

OFFICIAL_SDK = "tinker==0.38.0"
TRANSFORMERS = "transformers==5.23.0"


@pytest.fixture(scope="module", params=["0.4.0", "0.3.0"])
def skyrl(request):
    """A SkyRL server with a tiny random model: 0.4.0 answers protobuf, 0.3.0 JSON."""
    with running_skyrl(request.param) as server:
        yield server


@pytest.fixture(scope="session")
def environment_with():
    """Makes the interpreter of a virtual environment that has some packages."""
    return lambda name, packages, **options: environment_of(name, *packages, **options)


@pytest.fixture(scope="session")
def official_python():
    """The interpreter of a virtual environment that has the official SDK."""
    return environment_of(OFFICIAL_SDK.replace("==", "-"), OFFICIAL_SDK)


@pytest.fixture(scope="session")
def transformers_python():
    """The interpreter of a virtual environment that has transformers, without a library to compute with."""
    return environment_of(TRANSFORMERS.replace("==", "-"), TRANSFORMERS, "jinja2")


@pytest.fixture(scope="session")
def families():
    """The folder with real tokenizers and chat templates, a directory for each family of models."""
    return installed("chat-families-2", make_families)


@pytest.fixture(scope="session")
def programs():
    """The folder of the programs of an environment; all are made at once: most of the time an index is waited for."""
    with ThreadPoolExecutor() as pool:
        made = {name: pool.submit(programs_of, name) for name in ENVIRONMENTS}
        yield lambda name: made[name].result()


@pytest.fixture(scope="session")
def installed_tinkex(tmp_path_factory):
    """The folder that this tinkex is installed in, for programs that look for plug-ins."""
    folder = tmp_path_factory.mktemp("site-packages")
    install_tinkex(folder)
    return folder
