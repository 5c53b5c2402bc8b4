"""Settings that cannot be used are refused by their names, and without what they hold."""

from __future__ import annotations

import pytest

import tinkex

PASSWORD = "hush0123"


@pytest.mark.parametrize(
    "proxy",
    [
        *(f"http://u:{PASSWORD}@127.0.0.1:9x", f"http://u:{PASSWORD}@", f"socks5://u:{PASSWORD}@h:99999"),
        *(f"http://u:{PASSWORD}@[::1", f"http://u:{PASSWORD}@a b:1", f"://u:{PASSWORD}@h", f"http://u:{PASSWORD}@h:0"),
        *(f"http://u:{PASSWORD}@h:1\n", f"ftp://u:{PASSWORD}@h:1", f"socks://u:{PASSWORD}@h:1", "file:///etc/proxy"),
    ],
)
def test_proxies_that_are_no_urls(proxy):
    """A proxy that is no URL is refused when it is set, by the name of its entry, and its password is not repeated."""
    with pytest.raises(ValueError, match=r"proxies\['https'\] is not the URL of a proxy") as caught:
        tinkex.ClientConfig(proxies={"https": proxy})
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    "proxies",
    [
        *({"http": "127.0.0.1:3128"}, {"all": "socks5h://u:p@h"}, {"https://api.example": "https://p.example:443/"}),
        *({"http": ""}, {"no_proxy": "a.example,b.example:80"}, {"http": "http://[::1]:8080"}),
    ],
)
def test_proxies(proxies):
    """What requests takes as a proxy is taken."""
    assert tinkex.ClientConfig(proxies=proxies).proxies == proxies
