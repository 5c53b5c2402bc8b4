"""The configuration: what it accepts, what it refuses and where its values come from."""

from __future__ import annotations

import copy
import math
import pickle
import warnings

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinkex.config import OFFICIAL_BASE_URL, ClientConfig, RetryConfig, config_from_env, is_official, validate_changes

LOCAL = "http://localhost:8000"
SECRET = "hunter2-very-secret"
FIELDS = attrs.fields_dict(ClientConfig)
COUNTS = [
    "workers", "callback_workers", "max_in_flight", "max_queued", "max_connections", "max_idle_connections",
    "max_response_bytes", "inflight_response_bytes",
]  # fmt: skip
SECONDS = [
    "timeout", "connect_timeout", "reach_timeout", "request_timeout", "poll_timeout", "min_poll_interval",
    "billing_wait", "queue_log_interval",
]  # fmt: skip
ENDLESS = {"timeout", "reach_timeout", "billing_wait", "queue_log_interval"}
ZERO = {"reach_timeout", "min_poll_interval", "billing_wait", "queue_log_interval"}


def test_defaults():
    """The defaults are the documented ones."""
    config = ClientConfig()
    expected = {
        "api_key": None, "base_url": OFFICIAL_BASE_URL, "timeout": 7200.0, "connect_timeout": 5.0,
        "reach_timeout": 15.0, "request_timeout": 60.0, "poll_timeout": 45.0,
        "workers": 8, "callback_workers": 32, "max_in_flight": 10_000,
        "max_queued": 100_000, "on_full": "block", "max_idle_connections": 64, "max_response_bytes": 268_435_456,
        "inflight_response_bytes": 52_428_800, "min_poll_interval": 0.25, "on_rate_limit": "wait", "billing_wait": 60.0,
        "proxies": None, "trust_env": True, "verify": True, "cert": None, "adapter": None, "default_headers": {},
        "telemetry": True, "tags": (), "user_metadata": {}, "project_id": None, "display_name": None,
        "queue_log_interval": 60.0, "retry": RetryConfig(20, 900.0, 0.5, 10.0, 0.25),
    }  # fmt: skip
    actual = attrs.asdict(config, recurse=False)
    assert 1 <= actual.pop("max_connections") <= 4096
    assert actual == expected


@pytest.mark.parametrize(("soft", "most"), [(256, 128), (1, 1), (20_000, 4096), (-1, 4096)])
def test_connections_leave_room_for_other_files(monkeypatch, soft, most):
    """Half of the open files allowed are connections, never over 4,096, where the limit is endless too."""
    monkeypatch.setattr("resource.getrlimit", lambda _: (soft, soft))
    assert ClientConfig().max_connections == most


@given(st.sampled_from(COUNTS), st.integers())
def test_counts(name, value):
    """A count is accepted exactly from its minimum to the largest of 64 bits."""
    minimum = 0 if name == "max_idle_connections" else 1
    if minimum <= value < 2**63:
        assert getattr(ClientConfig(**{name: value}), name) == value
    else:
        with pytest.raises(ValueError, match=name):
            ClientConfig(**{name: value})


@given(st.sampled_from(SECONDS), st.floats() | st.integers())
@example("timeout", 10**400)
@example("poll_timeout", 10**400)
@example("poll_timeout", -(10**400))
@example("timeout", math.inf)
@example("timeout", math.nan)
def test_seconds(name, value):
    """A duration is a float that a timer can take; only some may be zero, or endless."""
    good = 0 < value <= 1e9 or (value == 0 and name in ZERO) or (value == math.inf and name in ENDLESS)
    if good:
        kept = getattr(ClientConfig(**{name: value}), name)
        assert isinstance(kept, float)
        assert kept == (math.inf if value > 1e9 else value)
    else:
        with pytest.raises(ValueError, match=name):
            ClientConfig(**{name: value})


@pytest.mark.thin(5)
@pytest.mark.parametrize("value", [True, "5", None, 1.5, [5]])
@pytest.mark.parametrize("name", COUNTS)
def test_counts_are_ints(name, value):
    """No bool, text or float passes for an int."""
    with pytest.raises(TypeError, match=name):
        ClientConfig(**{name: value})


@pytest.mark.thin(4)
@pytest.mark.parametrize("value", [True, "5", None, [5]])
@pytest.mark.parametrize("name", SECONDS)
def test_seconds_are_numbers(name, value):
    """No bool or text passes for a duration."""
    with pytest.raises(TypeError, match=name):
        ClientConfig(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("api_key", 3),
        ("api_key", b"key"),
        ("base_url", 3),
        ("base_url", None),
        ("trust_env", 1),
        ("telemetry", "off"),
        ("verify", None),
        ("verify", 1),
        ("verify", ""),
        ("cert", 3),
        ("cert", ("a", "b", "c")),
        ("cert", ("a", None)),
        ("cert", ""),
        ("adapter", "adapter"),
        ("proxies", "http://proxy"),
        ("proxies", {"https": 3}),
        ("proxies", {3: "http://proxy"}),
        ("default_headers", [("a", "b")]),
        ("default_headers", {"a": 3}),
        ("default_headers", {3: "a"}),
        ("tags", "one"),
        ("tags", ["one", 2]),
        ("user_metadata", "x"),
        ("user_metadata", {"x": object()}),
        ("user_metadata", {"x": math.nan}),
        ("user_metadata", {1: "x"}),
        ("project_id", 3),
        ("display_name", 3),
        ("retry", {"max_attempts": 3}),
        ("retry", None),
    ],
)
def test_wrong_types_name_the_field(name, value):
    """A value of the wrong type is refused by name."""
    with pytest.raises(TypeError, match=name):
        ClientConfig(**{name: value})


@pytest.mark.parametrize(("name", "value"), [("on_full", "drop"), ("on_full", None), ("on_rate_limit", "block")])
def test_choices(name, value):
    """A word that is not offered is refused by name, with those that are."""
    with pytest.raises(ValueError, match=f"{name} must be one of .*'raise'"):
        ClientConfig(**{name: value})


def test_unknown_names():
    """A misspelt setting is an error."""
    with pytest.raises(TypeError, match="tiemout"):
        ClientConfig(tiemout=3)


def test_adapters_can_send():
    """Anything that sends can be an adapter."""

    class Adapter:
        def send(self): ...

    adapter = Adapter()
    assert ClientConfig(adapter=adapter).adapter is adapter


@pytest.mark.parametrize(
    ("given_url", "kept"),
    [
        ("http://localhost:8000/", "http://localhost:8000"),
        ("https://host/a/b///", "https://host/a/b"),
        (" https://host/a ", "https://host/a"),
        ("http://[::1]:8000", "http://[::1]:8000"),
    ],
)
def test_base_url_is_tidied(given_url, kept):
    """Slashes at the end go; the path prefix stays."""
    assert ClientConfig(base_url=given_url).base_url == kept


@pytest.mark.parametrize(
    "url",
    [
        "", "host", "host:8000", "ftp://host", "http://", "http:///path", "https://:80", "http://host:port",
        "http://host:99999", "http://host:0", "http://[::1", "http://ho st", "http://host\r\nX: y", "http://host\x00",
        "http://host\\path", "http://host?a=b", "http://host/?", "http://host#top", f"http://user:{SECRET}@host",
        f"http://{SECRET}@host:port", "http://host/api/v1", "https://host/gateway/api/v1/",
    ],
)  # fmt: skip
def test_malformed_base_urls(url):
    """What is no plain web address is refused by name, and never repeated."""
    with pytest.raises(ValueError, match="base_url") as caught:
        ClientConfig(base_url=url)
    assert SECRET not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_as_base_url(text):
    """Whatever the text, it is accepted or refused by name."""
    try:
        kept = ClientConfig(base_url=text).base_url
    except ValueError as error:
        refusal = str(error)
        assert "base_url" in refusal
    else:
        assert not kept.endswith("/")


@pytest.mark.parametrize(
    ("url", "official"),
    [
        (OFFICIAL_BASE_URL, True),
        ("https://TINKER.ThinkingMachines.dev", True),
        ("https://tinker.thinkingmachines.dev.", True),
        ("https://thinkingmachines.dev.evil.example", False),
        ("https://eviltinkingmachines.dev", False),
        ("https://evilthinkingmachines.dev", False),
        ("http://localhost", False),
    ],
)
def test_is_official(url, official):
    """Only the official domain counts as official."""
    assert is_official(url) is official


@pytest.mark.parametrize("key", [SECRET, f"TML-{SECRET}", f"tml{SECRET}"])
def test_key_format_on_the_official_host(key):
    """A key that the official server would refuse is refused here, unprinted; another server may like it."""
    with pytest.raises(ValueError, match="api_key") as caught:
        ClientConfig(api_key=key)
    assert SECRET not in str(caught.value)
    assert ClientConfig(api_key=key, base_url=LOCAL).api_key == key


@pytest.mark.parametrize("key", [f"tml-{SECRET}", f"eyJ{SECRET}", f"  tml-{SECRET}\n"])
def test_good_keys(key):
    """Both formats are accepted, and space around a key is nobody's intention."""
    assert ClientConfig(api_key=key).api_key == key.strip()


@pytest.mark.parametrize("key", [f"tml-{SECRET}\r\nX: y", f"tml-\x00{SECRET}", f"tml-{SECRET}\N{SNOWMAN}"])
def test_keys_fit_a_header(key):
    """A key that no header could carry is refused, unprinted."""
    with pytest.raises(ValueError, match="api_key") as caught:
        ClientConfig(api_key=key)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "headers",
    [{"X-A": f"{SECRET}\r\nX-B: c"}, {"X-A": f"{SECRET}\n"}, {"X-A": f" {SECRET}"}, {"X-A": f"{SECRET}\N{SNOWMAN}"}],
)
def test_header_values_are_safe(headers):
    """A header value that could smuggle in another header is refused, unprinted."""
    with pytest.raises(ValueError, match=r"default_headers.*X-A") as caught:
        ClientConfig(default_headers=headers)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\n", "\N{SNOWMAN}"])
def test_header_names_are_tokens(name):
    """What is not a header name is refused."""
    with pytest.raises(ValueError, match="default_headers"):
        ClientConfig(default_headers={name: "x"})


def secretive():
    """A configuration with a secret wherever one fits."""
    return ClientConfig(
        api_key=f"tml-{SECRET}",
        default_headers={"Authorization": SECRET},
        proxies={"https": f"http://user:{SECRET}@proxy"},
        user_metadata={"run": 1},
        workers=3,
    )


def test_secrets_are_not_shown():
    """Neither repr nor str shows key, headers or proxies."""
    assert SECRET not in f"{secretive()!r} {secretive()!s}"


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_hold_no_secret(protocol):
    """A pickle carries the settings and leaves the secrets behind."""
    pickled = pickle.dumps(secretive(), protocol)
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled) == ClientConfig(user_metadata={"run": 1}, workers=3) == secretive().without_secrets()


def test_copies_keep_everything():
    """A copy within the process is the same object: nothing in it can change."""
    config = secretive()
    assert copy.copy(config) is config
    assert copy.deepcopy(config) is config


def test_nothing_can_change():
    """Neither a field nor the content of a mapping can be set, and the caller's mapping is copied."""
    headers = {"X-A": "b"}
    config = ClientConfig(default_headers=headers)
    headers["X-A"] = "c"
    assert config.default_headers == {"X-A": "b"}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        config.workers = 3
    with pytest.raises(TypeError):
        config.default_headers["X-A"] = "c"


def test_evolve_validates():
    """A changed copy is checked like a new one."""
    config = ClientConfig(tags=["a", "b"])
    assert attrs.evolve(config, workers=2).tags == ("a", "b")
    with pytest.raises(ValueError, match="workers"):
        attrs.evolve(config, workers=0)


@pytest.mark.parametrize(
    ("fields", "kind", "name"),
    [
        ({"max_attempts": 0}, ValueError, "max_attempts"),
        ({"max_attempts": 1.5}, TypeError, "max_attempts"),
        ({"max_elapsed": -1}, ValueError, "max_elapsed"),
        ({"base_delay": math.nan}, ValueError, "base_delay"),
        ({"max_delay": math.inf}, ValueError, "max_delay"),
        ({"base_delay": 20}, ValueError, "max_delay"),
        ({"jitter": 1.1}, ValueError, "jitter"),
        ({"jitter": math.nan}, ValueError, "jitter"),
        ({"jitter": -0.1}, ValueError, "jitter"),
        ({"jitter": True}, TypeError, "jitter"),
        ({"jitter": "0"}, TypeError, "jitter"),
    ],
)
def test_retry_config_is_checked(fields, kind, name):
    """A retry setting that makes no sense is refused by name."""
    with pytest.raises(kind, match=name):
        RetryConfig(**fields)


def test_retry_config_allows_none_and_endless():
    """One attempt, no delay and no end are all fine."""
    config = RetryConfig(max_attempts=1, max_elapsed=math.inf, base_delay=0, max_delay=0, jitter=0)
    assert pickle.loads(pickle.dumps(config)) == config


def test_environment():
    """Every variable fills its field."""
    config = config_from_env(
        {
            "TINKER_API_KEY": " tml-abc\n",
            "TINKER_BASE_URL": "http://127.0.0.1:1/x/",
            "TINKEX_TIMEOUT": "inf",
            "TINKEX_WORKERS": "3",
            "TINKER_TELEMETRY": "off",
            "TINKER_TAGS": "a, b,,",
            "TINKER_PROJECT_ID": "p",
            "SSL_CERT_FILE": "/ca.pem",
            "CLOUDFLARE_ACCESS_CLIENT_ID": "id",
            "CLOUDFLARE_ACCESS_CLIENT_SECRET": "secret",
        }
    )
    assert config == ClientConfig(
        api_key="tml-abc",
        base_url="http://127.0.0.1:1/x",
        timeout=math.inf,
        workers=3,
        telemetry=False,
        tags=("a", "b"),
        project_id="p",
        verify="/ca.pem",
        default_headers={"CF-Access-Client-Id": "id", "CF-Access-Client-Secret": "secret"},
    )


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_variables_count_as_unset(empty):
    """An empty variable leaves the default."""
    names = [
        "TINKER_API_KEY", "TINKER_BASE_URL", "TINKEX_TIMEOUT", "TINKEX_WORKERS", "TINKER_TELEMETRY", "TINKER_TAGS",
        "TINKER_PROJECT_ID", "CLOUDFLARE_ACCESS_CLIENT_ID", "CLOUDFLARE_ACCESS_CLIENT_SECRET",
    ]  # fmt: skip
    assert config_from_env(dict.fromkeys(names, empty)) == ClientConfig()


@pytest.mark.parametrize(("text", "on"), [("1", True), ("YES", True), ("on", True), ("true", True), ("0", False)])
def test_telemetry_variable(text, on):
    """Telemetry is on for the four words and off for any other."""
    assert config_from_env({"TINKER_TELEMETRY": text}).telemetry is on


def test_precedence():
    """An argument wins over the base, the base over the environment, the environment over the default."""
    environ = {"TINKEX_TIMEOUT": "1", "TINKEX_WORKERS": "1", "TINKER_PROJECT_ID": "e"}
    config = config_from_env(environ, base=ClientConfig(timeout=2, workers=2), timeout=3)
    assert (config.timeout, config.workers, config.project_id) == (3.0, 2, "e")


@pytest.mark.parametrize("unset", [None, ""])
def test_arguments_not_given(unset):
    """None and empty text leave a setting to the base, the environment and the default."""
    assert config_from_env({"TINKER_BASE_URL": LOCAL}, base_url=unset, api_key=unset).base_url == LOCAL


def test_base_at_its_default_does_not_mask_the_environment():
    """A base that says nothing about a field lets the environment speak."""
    assert config_from_env({"TINKEX_WORKERS": "5"}, base=ClientConfig(timeout=2)).workers == 5


def test_base_has_the_right_type():
    """A base that is no configuration is refused."""
    with pytest.raises(TypeError, match="ClientConfig"):
        config_from_env({}, base={"workers": 3})


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TINKEX_TIMEOUT", "soon"),
        ("TINKEX_TIMEOUT", "-1"),
        ("TINKEX_TIMEOUT", "nan"),
        ("TINKEX_TIMEOUT", "1e400"),
        ("TINKEX_WORKERS", "0"),
        ("TINKEX_WORKERS", "1.5"),
        ("TINKER_BASE_URL", "nowhere"),
    ],
)
def test_bad_variables_are_named(variable, text):
    """A variable that cannot be used is named, unless an argument makes it irrelevant."""
    with pytest.raises(ValueError, match=variable):
        config_from_env({variable: text})
    config_from_env({variable: text}, timeout=1, workers=1, base_url=LOCAL)


def test_malformed_key_gives_way_to_the_command():
    """A malformed key of the environment is skipped where a command is set, and an error where none is."""
    environ = {"TINKER_API_KEY": SECRET}
    with pytest.raises(ValueError, match="TINKER_API_KEY") as caught:
        config_from_env(environ)
    assert SECRET not in str(caught.value)
    environ["TINKER_CREDENTIAL_CMD"] = "print-key"
    assert config_from_env(environ).api_key is None
    assert config_from_env(environ, base_url=LOCAL).api_key == SECRET
    with pytest.raises(ValueError, match="api_key"):
        config_from_env(environ, api_key=SECRET)


def test_access_headers_need_both_variables():
    """One half of the Cloudflare pair is no use, and the caller's headers win over the pair, in any case."""
    assert config_from_env({"CLOUDFLARE_ACCESS_CLIENT_ID": "id"}).default_headers == {}
    environ = {"CLOUDFLARE_ACCESS_CLIENT_ID": "id", "CLOUDFLARE_ACCESS_CLIENT_SECRET": "secret"}
    headers = config_from_env(environ, default_headers={"cf-access-client-id": "mine", "X-A": "b"}).default_headers
    assert headers == {"CF-Access-Client-Secret": "secret", "cf-access-client-id": "mine", "X-A": "b"}


def test_bundle_variables():
    """The first CA bundle named is used, unless the environment is not to be trusted or the caller chose."""
    environ = {"SSL_CERT_FILE": "/ssl.pem", "REQUESTS_CA_BUNDLE": "/requests.pem"}
    assert config_from_env(environ).verify == "/requests.pem"
    assert config_from_env(environ, trust_env=False).verify is True
    assert config_from_env(environ, verify=False).verify is False


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_plain_http_to_this_machine_is_quiet(host):
    """Plain http within the machine gives no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config_from_env({}, base_url=f"http://{host}:8000")


@pytest.mark.parametrize("url", ["http://example.com", "HTTP://10.0.0.1", "http://localhost.example.com"])
def test_plain_http_to_another_machine_warns(url):
    """Plain http to another machine is pointed out once, at the caller's line."""
    with pytest.warns(UserWarning, match="plain http") as caught:
        config_from_env({}, base_url=url)
    assert len(caught) == 1


def test_reconfigurable_names_are_fields():
    """What may change exists, and what a client is built on may not change."""
    assert FIELDS.keys() > ClientConfig.RECONFIGURABLE
    assert not ClientConfig.RECONFIGURABLE & {"base_url", "workers", "max_connections", "verify", "trust_env"}


@pytest.mark.parametrize(
    ("changes", "kind", "name"),
    [
        ({"tiemout": 3}, TypeError, "tiemout"),
        ({"workers": 3}, ValueError, "workers"),
        ({"base_url": LOCAL}, ValueError, "base_url"),
        ({"timeout": "3"}, TypeError, "timeout"),
        ({"timeout": -3}, ValueError, "timeout"),
        ({"api_key": 3}, TypeError, "api_key"),
        ({"on_full": "drop"}, ValueError, "on_full"),
    ],
)
def test_bad_changes(changes, kind, name):
    """A change that cannot be made is refused by name."""
    with pytest.raises(kind, match=name):
        validate_changes(changes)


def test_good_changes():
    """Any reconfigurable setting may change to a good value, a key of any format too."""
    validate_changes({"api_key": "any", "timeout": 3, "retry": RetryConfig(3), "default_headers": {"a": "b"}})
    validate_changes({name: getattr(ClientConfig(), name) for name in ClientConfig.RECONFIGURABLE})
