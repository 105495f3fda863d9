from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from streams.notices.reach import GuardRules, UrlError, check_url, is_public
from streams.notify.channels.guard import CallError, GuardedClient
from tests.support.notice_receivers import LOOPBACK, Script, receiving, speaking

NOBODY = GuardRules()
REFUSED = (
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254", "168.63.129.16",
    "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1",
    "198.18.0.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::8.8.8.8", "100::1", "2001::1", "2001:0:53aa:64c:0:7dff:80ff:fffe",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::1", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fec0::1", "ff02::1", "ff0e::1",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "1.1.1.1", "192.0.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2a00:1450::5e")


@pytest.mark.parametrize("text", REFUSED)
def test_an_address_that_is_not_public_is_refused(text: str) -> None:
    assert not is_public(ip_address(text))
    assert not NOBODY.may_connect(ip_address(text), 443, is_encrypted=True)


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_reached_with_tls_only(text: str) -> None:
    assert NOBODY.may_connect(ip_address(text), 443, is_encrypted=True)
    assert not NOBODY.may_connect(ip_address(text), 80, is_encrypted=False)
    assert not NOBODY.may_connect(ip_address(text), 8080, is_encrypted=False)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_alike_in_every_form_that_carries_it(address: IPv4Address) -> None:
    mapped, nat64 = IPv6Address(f"::ffff:{address}"), IPv6Address(int(IPv6Address("64:ff9b::")) + int(address))
    assert is_public(mapped) == is_public(nat64) == is_public(address)
    for prefix in ("64:ff9b:1::", "::"):
        assert not is_public(IPv6Address(int(IPv6Address(prefix)) + int(address)))
    assert not is_public(IPv6Address((0x2002 << 112) + (int(address) << 80) + 1))
    assert not is_public(IPv6Address((0x2001 << 112) + (int(address) ^ 0xFFFFFFFF)))


@given(st.ip_addresses())
def test_what_is_public_is_global_and_for_one_machine(address: IPv4Address | IPv6Address) -> None:
    if is_public(address):
        assert address.is_global or isinstance(address, IPv6Address)
        assert not address.is_multicast
        assert not address.is_loopback


def test_only_an_allowed_network_is_reached_besides() -> None:
    rules = GuardRules((ip_network("10.1.0.0/16"),))
    assert rules.may_connect(ip_address("10.1.2.3"), 80, is_encrypted=False)
    assert rules.may_connect(ip_address("::ffff:10.1.2.3"), 443, is_encrypted=True)
    assert not rules.may_connect(ip_address("10.1.2.3"), 25, is_encrypted=False)
    assert not rules.may_connect(ip_address("10.2.0.1"), 443, is_encrypted=True)
    assert not rules.may_connect(ip_address("64:ff9b::a01:203"), 443, is_encrypted=True)


@pytest.mark.parametrize("port", [0, 22, 25, 80, 110, 587, 1023])
def test_a_low_port_is_refused_even_at_a_public_address(port: int) -> None:
    assert not NOBODY.may_connect(ip_address("8.8.8.8"), port, is_encrypted=True)
    if port:
        assert GuardRules((), frozenset({port})).may_connect(ip_address("8.8.8.8"), port, is_encrypted=True)


@pytest.mark.parametrize(
    "url",
    [
        "", "hook", "/hook", "//example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
        "http://example.com/", "https:///hook", "https://", "https://user@example.com/", "https://user:pw@example.com/",
        "https://@example.com/", "https://:@example.com/", "https://example.com@127.0.0.1/", "https://example.com/#x",
        "https://example.com/#", "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/",
        "https://[fe80::1%25eth0]/", "https://169.254.169.254/latest", "https://example.com:22/",
        "https://example.com:0/", "https://example.com:99999/", "https://exa mple.com/", "https://example.com/\r\nX: 1",
        "https://example.com\\@127.0.0.1/", "https://example.com/\x00", "https://[::1/", "https://\uff11\uff12\uff17.0.0.1/",
        "https://example.com/" + "x" * 3_000,
    ],
)  # fmt: skip
def test_a_url_that_is_never_called_is_refused(url: str) -> None:
    with pytest.raises(UrlError):
        check_url(url, NOBODY)


@pytest.mark.parametrize(
    "url",
    ["https://example.com", "https://example.com/a?b=c%20d", "https://example.com:8443/", "https://bücher.example/x",
     "https://8.8.8.8/", "https://[2606:4700::1111]:8443/x", "HTTPS://EXAMPLE.COM/"],
)  # fmt: skip
def test_a_url_of_a_public_host_is_taken(url: str) -> None:
    assert check_url(url, NOBODY).scheme == "https"


def test_a_url_without_tls_needs_an_allowed_network() -> None:
    assert check_url("http://hooks.internal/x", LOOPBACK).scheme == "http"
    with pytest.raises(UrlError, match="public"):
        check_url("http://8.8.8.8/", LOOPBACK)


def _forms(address: str = "127.0.0.1") -> list[str]:
    number = int(IPv4Address(address))
    first, *_, last = octets = address.split(".")
    return [
        address, str(number), hex(number), f"0{number:o}", ".".join(f"0{int(one):o}" for one in octets),
        ".".join(hex(int(one)) for one in octets), f"{first}.{last}", f"{first}.0.{last}", f"0x7f.{last}",
        address + ".",
        f"[::ffff:{address}]", "[::1]", "localhost", "localhost.", "LOCALHOST", "0", "0.0.0.0", "[::]",
        "①②⑦.⓪.⓪.①", "127。0。0。1", "ⓛocalhost",
    ]  # fmt: skip


@pytest.mark.parametrize("host", _forms())
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_no_way_to_write_this_machine_reaches_it(host: str, scheme: str) -> None:
    """Only some other network is allowed; the socket must never be made, whatever reads the name."""
    rules = GuardRules((ip_network("10.99.0.0/16"),))

    async def run() -> None:
        async with receiving() as receiver, GuardedClient(rules) as client:
            port = receiver.url.split(":")[2].partition("/")[0]
            with pytest.raises((UrlError, CallError)):
                await client.post(check_url(f"{scheme}://{host}:{port}/", rules), b"{}", {})
            assert not receiver.received

    asyncio.run(run())


@given(st.ip_addresses(v=4), st.integers(0, 9), st.sampled_from(["", ".", ":8443"]))
def test_however_an_address_is_written_it_is_the_one_that_is_judged(
    address: IPv4Address, form: int, behind: str
) -> None:
    number, octets = int(address), str(address).split(".")
    host = (
        str(address), str(number), hex(number), f"0{number:o}", ".".join(hex(int(one)) for one in octets),
        ".".join(f"0{int(one):o}" for one in octets), f"{octets[0]}.{number & 0xFFFFFF}",
        f"{octets[0]}.{octets[1]}.{number & 0xFFFF}", f"[::ffff:{address}]", f"[64:ff9b::{address}]",
    )[form]  # fmt: skip
    try:
        url = check_url(f"https://{host}{behind}/", NOBODY)
        found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (UrlError, socket.gaierror):
        return
    for *_, target in found:
        reached = ip_address(str(target[0]))
        assert NOBODY.may_connect(reached, 443, is_encrypted=True) == is_public(address)


def test_a_name_that_changes_its_address_is_refused_at_the_next_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver's network is allowed, then the name points elsewhere: no kept connection, no second look-up."""
    told = ["127.0.0.1"]

    def resolve(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (told[0], port))]

    monkeypatch.setattr("streams.notify.channels.guard.socket.getaddrinfo", resolve)
    rules = GuardRules((ip_network("127.0.0.1/32"),))

    async def run() -> None:
        async with receiving(headers={"Connection": "close"}) as receiver, GuardedClient(rules) as client:
            url = check_url(receiver.url.replace("127.0.0.1", "rebind.example"), rules)
            assert (await client.post(url, b"{}", {})).status == 200
            told[0] = "127.0.0.2"
        async with GuardedClient(rules) as client:
            with pytest.raises(CallError, match="not allowed"):
                await client.post(url, b"{}", {})

    asyncio.run(run())


def test_of_several_addresses_only_a_permitted_one_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in ("127.0.0.2", "127.0.0.1")]

    monkeypatch.setattr("streams.notify.channels.guard.socket.getaddrinfo", resolve)
    rules = GuardRules((ip_network("127.0.0.1/32"),))

    async def run() -> None:
        async with receiving() as receiver, GuardedClient(rules) as client:
            url = check_url(receiver.url.replace("127.0.0.1", "both.example"), rules)
            assert (await client.post(url, b"{}", {})).status == 200

    asyncio.run(run())


def test_a_redirect_is_answered_and_not_followed() -> None:
    async def run() -> None:
        async with receiving() as inner:
            async with (
                receiving(status=307, headers={"Location": inner.url}) as outer,
                GuardedClient(LOOPBACK) as client,
            ):
                assert (await client.post(check_url(outer.url, LOOPBACK), b"{}", {})).status == 307
            assert not inner.received

    asyncio.run(run())


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with receiving() as proxy, receiving() as receiver:
            for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            async with GuardedClient(LOOPBACK) as client:
                assert (await client.post(check_url(receiver.url, LOOPBACK), b"{}", {})).status == 200
            assert not proxy.received

    asyncio.run(run())


def test_cookies_are_not_kept() -> None:
    async def run() -> None:
        async with receiving(headers={"Set-Cookie": "a=b; Path=/"}) as receiver, GuardedClient(LOOPBACK) as client:
            for _ in range(2):
                await client.post(check_url(receiver.url, LOOPBACK), b"{}", {})
            assert all("cookie" not in one.headers for one in receiver.received)

    asyncio.run(run())


def test_an_answer_of_100_mb_is_read_to_a_few_kilobytes() -> None:
    sent = 0

    async def flood(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1_600):
            await response.write(b"x" * 65_536)
            sent += 65_536
        return response

    async def run() -> None:
        async with receiving(flood) as receiver, GuardedClient(LOOPBACK) as client:
            answer = await client.post(check_url(receiver.url, LOOPBACK), b"{}", {})
            assert (answer.status, len(answer.body)) == (200, 4_096)

    asyncio.run(run())
    assert sent < 50_000_000


def test_an_answer_that_lies_about_its_length_still_has_its_status() -> None:
    async def lie(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 OK\r\nContent-Length: 5000\r\n\r\nshort")
        await writer.drain()

    async def run() -> None:
        async with speaking(lie) as url, GuardedClient(LOOPBACK) as client:
            assert (await client.post(check_url(url, LOOPBACK), b"{}", {})).status == 202

    asyncio.run(run())


def test_an_answer_whose_rest_never_comes_is_one() -> None:
    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 OK\r\nContent-Length: 5000\r\n\r\nshort")
        await writer.drain()
        await asyncio.sleep(3_600)

    async def run() -> None:
        async with speaking(drip) as url, GuardedClient(LOOPBACK, total_seconds=0.5) as client:
            assert (await client.post(check_url(url, LOOPBACK), b"{}", {})).status == 202

    asyncio.run(run())


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_attempt() -> None:
    connections = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")  # the next request is read, and not answered

    async def run() -> None:
        async with speaking(once) as url, GuardedClient(LOOPBACK) as client:
            for _ in range(2):
                assert (await client.post(check_url(url, LOOPBACK), b"", {})).status == 200
            # Several kept ones, all of them closed: the connections of a burst, an hour later.
            together = (client.post(check_url(url, LOOPBACK), b"", {}) for _ in range(2))
            assert {answer.status for answer in await asyncio.gather(*together)} == {200}
            assert (await client.post(check_url(url, LOOPBACK), b"", {})).status == 200

    asyncio.run(run())
    assert connections > 2


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def _trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-Slow: 1\r\n")
        await writer.drain()
        await asyncio.sleep(0.05)


async def _continue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")


async def _vanish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    return


async def _long_header(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 1_000_000 + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (_hang, "no answer within"),
        (_trickle, "no answer within|not valid HTTP"),
        (_continue, "no answer within"),
        (_garbage, "not valid HTTP"),
        (_vanish, "closed before an answer"),
        (_long_header, "not valid HTTP"),
    ],
)
def test_what_goes_wrong_is_said_in_plain_words(script: Script, why: str) -> None:
    async def run() -> None:
        async with speaking(script) as url, GuardedClient(LOOPBACK, total_seconds=0.5) as client:
            with pytest.raises(CallError, match=why) as caught:
                await client.post(check_url(url, LOOPBACK), b"{}", {})
            assert "127.0.0.1" not in str(caught.value)

    asyncio.run(run())


def test_a_host_that_refuses_connections_or_has_no_address_is_said_so() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        async def run() -> None:
            async with GuardedClient(LOOPBACK) as client:
                with pytest.raises(CallError, match="refuses connections"):
                    await client.post(check_url(f"http://127.0.0.1:{port}/", LOOPBACK), b"{}", {})
                with pytest.raises(CallError, match="cannot be resolved"):
                    await client.post(check_url("https://no-such-host.invalid/", LOOPBACK), b"{}", {})

        asyncio.run(run())


def test_an_untrusted_certificate_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    import ssl

    from tests.support.certificates import Authority

    authority = Authority(tmp_path_factory.mktemp("tls"))
    files = authority.certificate("receiver")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(*files)

    async def run() -> None:
        async with receiving(tls=served) as receiver:
            url = check_url(receiver.url, LOOPBACK)
            async with GuardedClient(LOOPBACK) as client:
                with pytest.raises(CallError, match="certificate is not accepted"):
                    await client.post(url, b"{}", {})
            trusted = ssl.create_default_context(cafile=str(authority.file))
            async with GuardedClient(LOOPBACK, tls=trusted) as client:
                assert (await client.post(url, b"{}", {})).status == 200

    asyncio.run(run())


@given(st.text(max_size=80))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://{text}/", f"https://example.com{text}", f"http://127.0.0.1{text}"):
        try:
            checked = check_url(url, LOOPBACK)
        except UrlError:
            continue
        assert checked.raw_host
        assert checked.raw_user is None
