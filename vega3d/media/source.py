"""Open sources of pictures and videos: paths, bytes, ``data:`` URIs, and addresses.

Downloads are bounded in bytes and time and kept away from private networks. The address of a host is looked
up once, checked, and connected to, again for each redirect: a name that changes between check and connection
leads nowhere. A host on a private network is reached only if the environment variable ``VEGA3D_ALLOW_HOSTS``
lists it. Behind a proxy of the environment it is the proxy that looks names up; then only addresses that are
written as numbers are checked.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import http.client
import io
import ipaddress
import os
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

from vega3d.errors import InputError, MediaError, MediaNotFoundError

SILENCE = 20.0  # seconds without a byte
DEADLINE = 300.0  # seconds for everything: looking up, connecting, redirects, reading
MAX_BYTES = 512 * 2**20
MAX_REDIRECTS = 5
ALLOW = "VEGA3D_ALLOW_HOSTS"
"""Environment variable: names, addresses and networks (10.1.0.0/16), separated by commas."""

ACCEPTED = "a path, a file:// or http(s):// or data: URI, a PIL image, or an array (H, W, 3) or (3, H, W)"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CHUNK = 1 << 20


def open_source(source: Any) -> str | io.BytesIO:
    """A local path that exists, or the bytes behind an address: what a decoder can open.

    Raises:
        MediaNotFoundError: no such file, or an address that cannot be reached.
        MediaError: a pipe or a device.
        InputError: neither a path nor an address.
    """
    if isinstance(source, (bytes, io.BytesIO)):
        return io.BytesIO(source if isinstance(source, bytes) else source.getbuffer())
    if not isinstance(source, (str, os.PathLike)):
        got, fix = type(source).__name__, "pass a path"
        raise InputError(f"Cannot read media of type {got}.", got=got, expected=ACCEPTED, fix=fix)
    address = os.fspath(source)
    if is_url(address):
        return fetch(address)
    if address.startswith("data:"):
        return io.BytesIO(_from_data_uri(address))
    path = address.removeprefix("file://")
    if os.path.isfile(path) or os.path.isdir(path):
        return path
    if os.path.exists(path):  # a pipe would be waited for, a device never ends
        what, got = f"Cannot read {shown(path)}: it is not a regular file.", "a pipe, a socket or a device"
        raise MediaError(what, got=got, expected="a file, or a folder of frames", fix="copy it into a file")
    what, fix = f"Missing file {shown(path)}.", f"check it; relative paths start at {os.getcwd()!r}"
    raise MediaNotFoundError(what, got=shown(source), expected="a file that exists", fix=fix)


def shown(source: Any) -> str:
    """Name of a source in a message: its address, shortened, or its type."""
    if not isinstance(source, (str, os.PathLike)):
        return f"the given {type(source).__name__}"
    text = os.fspath(source)
    return repr(text if len(text) <= 200 else text[:60] + "...")


def _from_data_uri(uri: str) -> bytes:
    header, comma, payload = uri.partition(",")
    try:
        if not comma or not header.endswith("base64"):
            raise ValueError("no ';base64,' in it")
        return base64.b64decode(payload, validate=True)
    except ValueError as error:
        got, expected = f"{shown(uri)}: {error}", "data:image/png;base64,<base64>"
        fix = "encode the file with base64.b64encode"
        raise MediaError("Cannot decode a data URI.", got=got, expected=expected, fix=fix) from error


def is_url(source: object) -> bool:
    """True if a source is an address that ``fetch`` takes."""
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://"))


def fetch(url: str) -> io.BytesIO:
    """The bytes behind an ``http://`` or ``https://`` address.

    Raises:
        MediaNotFoundError: the host is private or cannot be reached, its answer is broken, too large or too
            slow, or redirects to something else than http.
    """
    download, opener = _Download(url), urllib.request.OpenerDirector()  # no handler of files, ftp or data
    for kind in (urllib.request.ProxyHandler, _Redirects, urllib.request.HTTPErrorProcessor):
        opener.add_handler(kind())
    for handler in (download, urllib.request.HTTPDefaultErrorHandler(), urllib.request.UnknownHandler()):
        opener.add_handler(handler)
    try:
        with download.deadline():
            request = urllib.request.Request(url, headers={"User-Agent": "vega3d"})
            with opener.open(request, timeout=SILENCE) as answer:
                body = download.read(answer)
    except (http.client.HTTPException, OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, MediaNotFoundError):
            raise cause from None
        raise download.unreachable(f"{type(error).__name__}: {error}") from error
    if download.expired:
        raise download.unreachable("nothing")
    return body


def refused(address: Address) -> bool:
    """True if an address is private, loopback, link-local, reserved, multicast or unspecified.

    An IPv6 address that stands for an IPv4 address is refused as that one is.
    """
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return refused(inner)
    return not address.is_global or address.is_multicast


def _allowed(host: str, address: Address) -> bool:
    entries = [entry.strip() for entry in os.environ.get(ALLOW, "").lower().split(",")]
    for entry in filter(None, entries):
        with contextlib.suppress(ValueError):
            if entry == host.lower() or address in ipaddress.ip_network(entry):
                return True
    return False


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The next request; the body of this answer, which may be endless, is not read."""
        fp.close()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Download(urllib.request.AbstractHTTPHandler):
    """One download: opens connections to checked addresses, which a timer ends.

    Certificates are checked as urllib does.
    """

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.expired = url, False
        self._lock, self._sockets = threading.Lock(), list[socket.socket]()

    @contextlib.contextmanager
    def deadline(self) -> Iterator[None]:
        """End all connections when the time is over: a timeout of a socket counts from its last byte."""
        timer = threading.Timer(DEADLINE, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                for connection in self._sockets:
                    connection.close()

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a request over a checked connection."""
        return self.do_open(self._connecting(http.client.HTTPConnection, req), req)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a request over a checked connection with TLS."""
        return self.do_open(self._connecting(http.client.HTTPSConnection, req), req)

    def _connecting(self, kind: Any, request: urllib.request.Request) -> Any:
        """A class of connections, as ``do_open`` calls it, whose sockets are opened here."""
        target = urllib.parse.urlsplit(request.full_url).hostname or ""

        def made(host: str, **settings: Any) -> Any:
            connection = kind(host, **settings)
            connection._create_connection = functools.partial(self._connect, target)
            return connection

        return made

    def _connect(self, target: str, endpoint: tuple[str, int], timeout: float, *_: Any) -> socket.socket:
        """Connect to an address that was checked; the endpoint is the target, or the proxy before it."""
        if self.expired:
            raise TimeoutError
        addresses: list[Any] = [
            entry[4][:2] for entry in socket.getaddrinfo(*endpoint, type=socket.SOCK_STREAM)
        ]
        if endpoint[0].lower() == target.lower():
            for address in addresses:
                self._check(target, ipaddress.ip_address(address[0]))
        else:
            with contextlib.suppress(ValueError):  # a name, which the proxy looks up
                self._check(target, ipaddress.ip_address(target))
        problem = OSError("no address")
        for address in addresses:
            try:
                connection = socket.create_connection(address, timeout)  # a number, not looked up again
            except OSError as error:
                problem = error
                continue
            with self._lock:
                self._sockets.append(connection.dup())  # TLS takes the original over
            return connection
        raise problem

    def _check(self, host: str, address: Address) -> None:
        if refused(address) and not _allowed(host, address):
            what = f"Cannot download from {host!r}: it is on a private network."
            got = f"{address} for {self.url[:200]}"
            fix = f"download the file, or, if you trust the data, set {ALLOW}={host}"
            raise MediaNotFoundError(what, got=got, expected="a public address", fix=fix)

    def read(self, answer: Any) -> io.BytesIO:
        """The body of an answer, if it is whole and not too large."""
        length, body = answer.length, io.BytesIO()
        if length is not None and length > MAX_BYTES:
            raise self._too_large(f"{length} bytes")
        while chunk := answer.read(_CHUNK):
            body.write(chunk)
            if body.tell() > MAX_BYTES:
                raise self._too_large("more")
        if length is not None and body.tell() < length:
            raise http.client.IncompleteRead(b"", length - body.tell())
        body.seek(0)
        return body

    def _too_large(self, got: str) -> MediaNotFoundError:
        return self._failed("it is too large for memory", got, f"at most {MAX_BYTES} bytes")

    def unreachable(self, got: str) -> MediaNotFoundError:
        """The error for an address that gave no whole answer."""
        got = f"no end after {DEADLINE:g} s" if self.expired else got
        expected = f"an answer within {SILENCE:g} s, whole within {DEADLINE:g} s"
        return self._failed("it is a URL and could not be reached", got, expected)

    def _failed(self, problem: str, got: str, expected: str) -> MediaNotFoundError:
        what, fix = f"Cannot download {self.url[:200]!r}: {problem}.", "download the file and pass its path"
        return MediaNotFoundError(what, got=got, expected=expected, fix=fix)
