"""A server on this machine whose answers are broken, endless, slow, or lead elsewhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[socket.socket], None]


@dataclass
class Server:
    """The address of the server, and the paths of its requests in order."""

    port: int
    asked: list[str] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The address of an answer."""
        return f"http://{host}:{self.port}/{path}"


def raw(text: bytes) -> Answer:
    """These bytes, then the end of the connection."""
    return lambda connection: connection.sendall(text)


def whole(body: bytes) -> Answer:
    """A proper answer."""
    return raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def redirect(to: str) -> Answer:
    """A redirect."""
    return raw(f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode())


def endless(head: bytes, part: bytes, pause: float = 0.0) -> Answer:
    """``head``, then ``part`` again and again until the client is gone."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        gone = threading.Event()
        while not gone.wait(pause):
            connection.sendall(part)

    return answer


def silent(connection: socket.socket) -> None:
    """Nothing, until the client is gone."""
    connection.recv(1)


@contextmanager
def serving(answers: dict[str, Answer]) -> Iterator[Server]:
    """Serve these answers by path, each connection in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(listening.getsockname()[1])

        def work(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                path = connection.recv(65536).split(b" ")[1].decode().removeprefix("/")
                server.asked.append(path)
                answers[path](connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    threading.Thread(target=work, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield server
        finally:
            listening.shutdown(socket.SHUT_RDWR)
