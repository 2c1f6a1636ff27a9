"""A mistake in a URL is told at once, in words that do not repeat it."""

import pytest

from app.webhooks.guard import AddressRefused
from app.webhooks.url import MAX_LENGTH, check_url
from tests.webhooks.receiver import LOOPBACK

GOOD = {
    "https://hooks.example.com/in": "https://hooks.example.com/in",
    "HTTPS://Hooks.Example.COM": "https://hooks.example.com/",
    "http://hooks.example.com:8080/a?b=c&d=%20": "http://hooks.example.com:8080/a?b=c&d=%20",
    "https://hooks.example.com?b=c": "https://hooks.example.com/?b=c",
    "https://hooks.example.com:443/": "https://hooks.example.com/",
    "http://hooks.example.com:443/": "http://hooks.example.com:443/",
    "https://bücher.example/": "https://xn--bcher-kva.example/",
    "https://xn--bcher-kva.example/": "https://xn--bcher-kva.example/",
    "https://my_team.example.com/@here": "https://my_team.example.com/@here",
    "http://93.184.215.14/": "http://93.184.215.14/",
    "http://[2606:4700:0::1111]:8080/": "http://[2606:4700::1111]:8080/",
}
MALFORMED = {
    "nothing": "",
    "no scheme": "example.com/hook",
    "another scheme": "ftp://example.com/",
    "a scheme that looks like it": "http\u017f://example.com/",
    "a file": "file:///etc/passwd",
    "no host": "https:///hook",
    "one slash": "https:/example.com",
    "user": "https://user@example.com/",
    "user and password": "https://user:word@example.com/",
    "fragment": "https://example.com/#part",
    "empty fragment": "https://example.com/#",
    "space": "https://example.com/a b",
    "leading space": " https://example.com/",
    "newline": "https://example.com/\r\nX-Evil: 1",
    "tab in the scheme": "ht\ttps://example.com/",
    "zero byte": "https://example.com/\x00",
    "backslash": "https://example.com\\@127.0.0.1/",
    "port 0": "https://example.com:0/",
    "port too high": "https://example.com:65536/",
    "port without digits": "https://example.com:/",
    "port of letters": "https://example.com:http/",
    "port of other digits": "https://example.com:８０/",
    "path not encoded": "https://example.com/bücher",
    "empty label": "https://a..example.com/",
    "trailing dot": "https://example.com./",
    "label with a leading hyphen": "https://-a.example.com/",
    "label too long": f"https://{'a' * 64}.example.com/",
    "host too long": f"https://{'a.' * 127}com/",
    "encoded host": "https://127%2e0.0.1/",
    "half a code point": "https://\udc80.example.com/",
    "unbalanced bracket": "https://[::1/",
    "text after the bracket": "https://[2606:4700::1111]example.com/",
    "not an IPv6 address": "https://[v1.x]/",
    "integer": "http://2130706433/",
    "hexadecimal": "http://0x7f.1/",
    "octal": "http://0177.0.0.1/",
    "short": "http://127.1/",
    "five numbers": "http://1.2.3.4.5/",
    "number too high": "http://256.1.1.1/",
}
ADDRESSES = [
    "http://127.0.0.1/",
    "http://10.0.0.1:8080/",
    "https://169.254.169.254/latest/meta-data/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://①②⑦.0.0.1/",
    "http://127。0。0。1/",
]


@pytest.mark.parametrize("url", GOOD)
def test_a_good_url_is_kept_in_its_plain_form(url: str) -> None:
    assert check_url(url) == GOOD[url]
    assert check_url(GOOD[url]) == GOOD[url]


@pytest.mark.parametrize("url", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as caught:
        check_url(url)
    assert not isinstance(caught.value, AddressRefused)
    assert not url or url not in str(caught.value)


@pytest.mark.parametrize("url", ADDRESSES)
def test_an_address_that_must_not_be_called_is_refused_at_once(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url)


def test_an_allowed_address_passes() -> None:
    assert check_url("http://127.0.0.1:8080/hook", LOOPBACK) == "http://127.0.0.1:8080/hook"
    with pytest.raises(AddressRefused):
        check_url("http://10.0.0.1/", LOOPBACK)


def test_the_length_is_bounded() -> None:
    longest = "https://example.com/".ljust(MAX_LENGTH, "a")
    assert check_url(longest) == longest
    with pytest.raises(ValueError, match="longer than 2048"):
        check_url(longest + "a")
