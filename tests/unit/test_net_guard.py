"""The guard's verdict on addresses and URLs."""

import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Forbidden, InvalidInput
from hub.net.guard import AddressRefused, Guard, check_url

PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:82a::200e"]
NOT_PUBLIC = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_allowed(address: str) -> None:
    assert Guard().allows(ip_address(address))


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_that_are_not_public_are_refused(address: str) -> None:
    assert not Guard().allows(ip_address(address))


def test_nat64_and_mapped_forms_of_public_addresses_are_allowed() -> None:
    assert Guard().allows(ip_address("64:ff9b::8.8.8.8"))
    assert Guard().allows(ip_address("::ffff:8.8.8.8"))


@given(st.ip_addresses(v=4))
def test_an_address_inside_ipv6_is_judged_as_the_address_it_stands_for(address: IPv4Address) -> None:
    guard = Guard(["10.0.0.0/8"])
    for prefix in ("::ffff:", "64:ff9b::"):
        assert guard.allows(IPv6Address(f"{prefix}{address}")) == guard.allows(address)


def test_a_named_network_is_allowed_and_its_neighbours_are_not() -> None:
    guard = Guard(["10.1.0.0/16", "fd00:1::/32"])
    assert guard.allows(ip_address("10.1.255.1"))
    assert guard.allows(ip_address("fd00:1::5"))
    assert not guard.allows(ip_address("10.2.0.1"))
    assert not guard.allows(ip_address("fd00:2::5"))


def test_a_link_local_network_can_be_named_whatever_the_zone() -> None:
    assert Guard(["fe80::/10"]).allows(ip_address("fe80::1%eth0"))


def test_what_is_no_network_is_an_error_that_names_the_field() -> None:
    with pytest.raises(InvalidInput) as caught:
        Guard(["the office"])
    assert caught.value.field == "allow_networks"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1:8080/x?y",
        "http://user:pw@10.0.0.1/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/",
        "http://LOCALHOST./",
        "http://api.localhost/",
    ],
)
def test_a_url_that_names_a_private_place_is_refused_early(url: str) -> None:
    with pytest.raises(Forbidden, match="allow_networks"):
        check_url(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://localhost:9/", "https://example.com/", "http://8.8.8.8/"])
def test_a_url_within_the_policy_passes(url: str) -> None:
    check_url(url, ["127.0.0.0/8"])


@pytest.mark.parametrize(
    "url", ["", "example.com", "ftp://example.com/", "file:///etc/passwd", "http://", "http://[/", "//x/"]
)
def test_what_is_no_http_url_is_an_error_that_names_the_field(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_url(url, field="callback_url")
    assert caught.value.field == "callback_url"


@given(st.text(max_size=60))
def test_no_text_makes_the_check_fail_in_another_way(text: str) -> None:
    for url in (text, f"http://{text}", f"http://h/{text}"):
        with suppress(InvalidInput, Forbidden):
            check_url(url, field="url")


def test_a_refusal_never_repeats_the_credentials_of_the_url() -> None:
    with pytest.raises(Forbidden) as caught:
        check_url("http://admin:hunter2@10.0.0.1/hook?token=s3cret", field="callback_url")
    assert "hunter2" not in caught.value.message
    assert "s3cret" not in caught.value.message


def test_the_socket_factory_refuses_the_address_it_is_given() -> None:
    with pytest.raises(AddressRefused) as caught:
        Guard().open_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("192.168.0.9", 80)))
    assert caught.value.address == ip_address("192.168.0.9")
