"""Pictures and videos behind addresses: bounded, whole, and never from a private network unless allowed."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any

import pytest

from tests import media, web_server
from tests.web_server import endless, raw, redirect, silent, whole
from vega3d.errors import MediaNotFoundError
from vega3d.media import source
from vega3d.media.decoding import probe
from vega3d.media.image import load_image

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VEGA3D_ALLOW_HOSTS", "media.example, 127.0.0.1/32")


@pytest.fixture
def photo(tmp_path: Path) -> bytes:
    media.photo(20, 10).save(tmp_path / "a.png")
    return (tmp_path / "a.png").read_bytes()


@pytest.mark.usefixtures("allowed")
def test_a_picture_and_a_video_are_read_from_an_address(tmp_path: Path, photo: bytes) -> None:
    clip = Path(media.write_video(tmp_path / "a.mp4", 5)).read_bytes()
    chunked = OK + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(photo), photo)
    answers = {
        "a.png": whole(photo),
        "a.mp4": whole(clip),
        "chunked": raw(chunked),
        "until-the-end": raw(OK + b"\r\n" + photo),
        "moved": redirect("/a.png"),
    }
    with web_server.serving(answers) as server:
        for path in ("a.png", "chunked", "until-the-end", "moved"):
            assert load_image(server.url(path)).shape == (3, 10, 20)
        assert load_image(server.url("a.png").replace("http", "HTTP")).shape == (3, 10, 20)
        assert probe(server.url("a.mp4")).n_frames == 5


BROKEN = {
    "short": OK + b"Content-Length: 1000\r\n\r\nabc",
    "short-chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\nabc",
    "no-chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "bad-status": b"HELLO\r\n\r\n",
    "no-status": b"HTTP/1.1 xyz OK\r\n\r\n",
    "nothing": b"",
    "long-line": b"HTTP/1.1 200 " + b"x" * 70000 + b"\r\n\r\n",
    "many-headers": OK + b"a: b\r\n" * 500 + b"\r\n",
    "error": b"HTTP/1.1 500 Broken\r\n\r\n",
    "to-nowhere": b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\n\r\n",
    "to-a-file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    "to-ftp": b"HTTP/1.1 302 Found\r\nLocation: ftp://127.0.0.1/a.png\r\n\r\n",
    "in-a-circle": b"HTTP/1.1 302 Found\r\nLocation: /in-a-circle\r\n\r\n",
}


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_answer_is_a_medium_that_is_not_found(kind: str) -> None:
    with (
        web_server.serving({kind: raw(BROKEN[kind])}) as server,
        pytest.raises(MediaNotFoundError, match="could not be reached"),
    ):
        load_image(server.url(kind))


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://", "http:///a.png", "http://a b/", "http://h:x/", "http://h/\n", "http://ä" * 40],
)
def test_an_address_that_is_none_is_a_medium_that_is_not_found(url: str) -> None:
    with pytest.raises(MediaNotFoundError, match="URL"):
        load_image(url)


@pytest.mark.usefixtures("allowed")
@pytest.mark.timeout(60)
def test_an_answer_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MAX_BYTES", 2**22)
    answers = {
        "body": endless(OK + b"\r\n", b"x" * 65536),
        "stated": raw(OK + b"Content-Length: 99999999999\r\n\r\n"),
    }
    with web_server.serving(answers) as server:
        for path in answers:
            with pytest.raises(MediaNotFoundError, match="too large"):
                load_image(server.url(path))


@pytest.mark.usefixtures("allowed")
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "answer",
    [
        endless(OK + b"\r\n", b"x", 0.02),
        endless(OK + b"Content-Length: 100000\r\n\r\n", b"x", 0.02),
        endless(OK + b"a: ", b"x", 0.02),
        endless(b"HTTP/1.1 302 Found\r\nLocation: /slow\r\nContent-Length: 100000\r\n\r\n", b"x", 0.02),
        silent,
    ],
    ids=["body", "stated", "headers", "redirects", "silence"],
)
def test_an_answer_that_drips_ends_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch, answer: web_server.Answer
) -> None:
    monkeypatch.setattr(source, "DEADLINE", 0.5)
    with (
        web_server.serving({"slow": answer}) as server,
        pytest.raises(MediaNotFoundError, match="could not be reached"),
    ):
        load_image(server.url("slow"))


# --- private networks


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1"),
        *("224.0.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "ff02::1"),
        *("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "64:ff9b::a9fe:a9fe"),
    ],
)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert source.refused(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_a_public_address_is_not_refused(address: str) -> None:
    assert not source.refused(ipaddress.ip_address(address))


def test_loopback_is_not_asked(photo: bytes) -> None:
    with web_server.serving({"a.png": whole(photo)}) as server:
        for host in ("127.0.0.1", "localhost", "0.0.0.0", "2130706433", "127.1"):
            with pytest.raises(MediaNotFoundError, match=r"private network[\s\S]*VEGA3D_ALLOW_HOSTS"):
                load_image(server.url("a.png", host))
        assert server.asked == []


@pytest.mark.usefixtures("allowed")
def test_each_redirect_is_checked(photo: bytes) -> None:
    with web_server.serving({"a.png": whole(photo)}) as other:
        answers = {"near": redirect(other.url("a.png")), "far": redirect(other.url("a.png", "127.0.0.2"))}
        with web_server.serving(answers) as server:
            assert load_image(server.url("near")).shape == (3, 10, 20)
            with pytest.raises(MediaNotFoundError, match="private network"):
                load_image(server.url("far"))
        assert other.asked == ["a.png"]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Addresses of made-up names, one a look-up."""
    known: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        return real(known[host].pop(0) if host in known else host, port, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return known


def test_a_name_is_looked_up_once_and_the_address_that_was_checked_is_asked(
    photo: bytes, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VEGA3D_ALLOW_HOSTS", "127.0.0.1")
    names["rebinding.example"] = ["127.0.0.1", "127.0.0.2"]
    names["inner.example"] = ["10.0.0.1"]
    with web_server.serving({"a.png": whole(photo)}) as server:
        assert load_image(server.url("a.png", "rebinding.example")).shape == (3, 10, 20)
        assert names["rebinding.example"] == ["127.0.0.2"]
        with pytest.raises(MediaNotFoundError, match=r"private network[\s\S]*10\.0\.0\.1"):
            load_image(server.url("a.png", "inner.example"))


@pytest.mark.usefixtures("allowed")
def test_a_server_of_the_own_network_is_allowed_by_name(photo: bytes, names: dict[str, list[str]]) -> None:
    names["media.example"] = ["127.0.0.1"]
    with web_server.serving({"a.png": whole(photo)}) as server:
        assert load_image(server.url("a.png", "media.example")).shape == (3, 10, 20)


def test_a_proxy_of_the_environment_is_asked_but_not_for_private_addresses(
    photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"http://photos.example/a.png": whole(photo)}
    with web_server.serving(answers) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        assert load_image("http://photos.example/a.png").shape == (3, 10, 20)
        with pytest.raises(MediaNotFoundError, match="private network"):
            load_image("http://10.0.0.1/a.png")
        assert proxy.asked == ["http://photos.example/a.png"]
