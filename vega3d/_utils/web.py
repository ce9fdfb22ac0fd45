"""Downloads of pictures and videos, bounded in bytes and time and kept away from private networks.

The address of a host is looked up once, checked, and connected to, again for each redirect: a name that
changes between check and connection leads nowhere. A host on a private network is reached only if the
environment variable ``VEGA3D_ALLOW_HOSTS`` lists it. Behind a proxy of the environment it is the proxy that
looks names up; then only addresses that are written as numbers are checked.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import os
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

from vega3d.errors import MediaNotFoundError

SILENCE = 20.0  # seconds without a byte
DEADLINE = 300.0  # seconds for everything: looking up, connecting, redirects, reading
MAX_BYTES = 512 * 2**20
MAX_REDIRECTS = 5
ALLOW = "VEGA3D_ALLOW_HOSTS"
"""Environment variable: names, addresses and networks (10.1.0.0/16), separated by commas."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CHUNK = 1 << 20


def is_url(source: object) -> bool:
    """True if a source is an address that ``fetch`` takes."""
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://"))


def fetch(url: str) -> io.BytesIO:
    """The bytes behind an ``http://`` or ``https://`` address.

    Raises:
        MediaNotFoundError: the host is private or cannot be reached, its answer is broken, too large or too
            slow, or redirects to something else than http.
    """
    download = _Download(url)
    try:
        with download.deadline():
            request = urllib.request.Request(url, headers={"User-Agent": "vega3d"})
            with download.opener().open(request, timeout=SILENCE) as answer:
                body = download.read(answer)
    except urllib.error.URLError as error:
        if isinstance(error.reason, MediaNotFoundError):
            raise error.reason from None
        raise download.failed(error) from error
    except MediaNotFoundError:
        raise
    except (http.client.HTTPException, OSError, ValueError) as error:
        raise download.failed(error) from error
    if download.expired:
        raise download.failed(None)
    return body


def refused(address: Address) -> bool:
    """True if an address is private, loopback, link-local, reserved, multicast or unspecified."""
    inner = _embedded(address)
    if inner is not None:
        return refused(inner)
    return not address.is_global or address.is_multicast


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _allowed(host: str, address: Address) -> bool:
    for entry in os.environ.get(ALLOW, "").split(","):
        entry = entry.strip().lower()
        if entry and entry == host.lower():
            return True
        with contextlib.suppress(ValueError):
            if address in ipaddress.ip_network(entry):
                return True
    return False


class _Download:
    """One download: its connections, which a timer ends."""

    def __init__(self, url: str) -> None:
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

    def opener(self) -> urllib.request.OpenerDirector:
        """An opener that follows proxies of the environment and redirects to http(s), and nothing else."""
        opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.ProxyHandler(),
            _Http(self),
            _Https(self),
            _Redirects(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.UnknownHandler(),
        ):
            opener.add_handler(handler)
        return opener

    def connect(self, host: str, port: int, target: str, timeout: float | None) -> socket.socket:
        """Connect to an address that was checked; ``host`` is the target, or the proxy before it."""
        if self.expired:
            raise TimeoutError
        if host.lower() != target.lower():
            with contextlib.suppress(ipaddress.AddressValueError, ValueError):
                self._check(target, ipaddress.ip_address(target))
            connection = socket.create_connection((host, port), timeout)
        else:
            connection = _first([self._checked(host, endpoint) for endpoint in _lookup(host, port)], timeout)
        with self._lock:
            self._sockets.append(connection.dup())  # TLS takes the original over
        return connection

    def _checked(self, host: str, endpoint: tuple[Any, ...]) -> tuple[Any, ...]:
        self._check(host, ipaddress.ip_address(endpoint[0]))
        return endpoint

    def _check(self, host: str, address: Address) -> None:
        if refused(address) and not _allowed(host, address):
            raise MediaNotFoundError(
                f"Cannot download from {host!r}: it is on a private network.",
                got=f"{address} for {self.url[:200]}",
                expected="a public address",
                fix=f"download the file, or, if you trust the data, set {ALLOW}={host}",
            )

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
        return MediaNotFoundError(
            f"Cannot download {self.url[:200]!r}: it is too large for memory.",
            got=got,
            expected=f"at most {MAX_BYTES} bytes",
            fix="download the file first and pass its path",
        )

    def failed(self, error: Exception | None) -> MediaNotFoundError:
        """The error for an address that gave no whole answer."""
        reason = "nothing" if error is None else f"{type(error).__name__}: {error}"
        return MediaNotFoundError(
            f"Cannot download {self.url[:200]!r}: it is a URL and could not be reached.",
            got=f"no end after {DEADLINE:g} s" if self.expired else reason,
            expected=f"an answer within {SILENCE:g} s, whole within {DEADLINE:g} s",
            fix="download the file first and pass its path",
        )


def _lookup(host: str, port: int) -> list[tuple[Any, ...]]:
    return [entry[4] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _first(endpoints: list[tuple[Any, ...]], timeout: float | None) -> socket.socket:
    """A connection to the first of these addresses that answers."""
    problem: OSError = OSError("no address")
    for endpoint in endpoints:
        try:
            return socket.create_connection(endpoint[:2], timeout)  # a number, which is not looked up again
        except OSError as error:
            problem = error
    raise problem


class _Http(urllib.request.HTTPHandler):
    def __init__(self, download: _Download) -> None:
        super().__init__()
        self.download = download

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a request over a checked connection."""
        return self.do_open(_connecting(http.client.HTTPConnection, self.download, req), req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, download: _Download) -> None:
        super().__init__()
        self.download = download

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        """Open a request over a checked connection; certificates are checked as urllib does."""
        return self.do_open(_connecting(http.client.HTTPSConnection, self.download, req), req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """The next request; the body of this answer, which may be endless, is not read."""
        fp.close()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _connecting(kind: Any, download: _Download, request: urllib.request.Request) -> Any:
    """A class of connections, as ``do_open`` calls it, whose sockets ``download`` opens."""
    target = urllib.parse.urlsplit(request.full_url).hostname or ""

    def made(host: str, **settings: Any) -> Any:
        connection = kind(host, **settings)
        connection._create_connection = lambda endpoint, timeout, source: download.connect(
            endpoint[0], endpoint[1], target, timeout
        )
        return connection

    return made
