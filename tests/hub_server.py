"""A hub of this process's own: just enough of its HTTP for the real client to push and to load."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Hub:
    """Pushed files by repository and name.

    Attributes:
        address: what ``HF_ENDPOINT`` has to say.
        repos: content of each file, by repository.
    """

    address: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, repo: str) -> str:
        """A name for the state of a repository."""
        parts = (name.encode() + content for name, content in sorted(self.repos[repo].items()))
        return hashlib.sha1(b"".join(parts)).hexdigest()


@contextmanager
def serve() -> Iterator[Hub]:
    """A running hub, empty at first."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        what = self.path.split("?")[0].removeprefix("/api/")
        if what == "repos/create":
            asked = json.loads(body)
            repo = f"{asked['organization']}/{asked['name']}"
            self.hub.repos.setdefault(repo, {})
            return self._json({"url": f"{self.hub.address}/{repo}", "id": repo, "name": repo})
        if what == "validate-yaml":
            return self._json({"errors": [], "warnings": []})
        repo, action = "/".join(what.split("/")[1:3]), what.split("/")[3]
        if action == "preupload":
            return self._json({"files": [_plain(one["path"]) for one in json.loads(body)["files"]]})
        for line in body.splitlines():
            record = json.loads(line)
            if record["key"] == "file":
                value = record["value"]
                self.hub.repos[repo][value["path"]] = base64.b64decode(value["content"])
            elif record["key"] == "deletedFile":
                del self.hub.repos[repo][record["value"]["path"]]
        sha = self.hub.commit(repo)
        return self._json({"commitUrl": f"{self.hub.address}/{repo}/commit/{sha}", "commitOid": sha})

    def do_GET(self) -> None:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repo = "/".join(parts[2:4])
            if repo not in self.hub.repos:
                return self._refuse("RepoNotFound")
            if parts[4:5] == ["tree"]:
                return self._json([_entry(name, data) for name, data in self.hub.repos[repo].items()])
            files = [{"rfilename": name} for name in self.hub.repos[repo]]
            return self._json({"id": repo, "sha": self.hub.commit(repo), "siblings": files})
        repo, name = "/".join(parts[:2]), "/".join(parts[4:])
        if name not in self.hub.repos.get(repo, {}):
            return self._refuse("EntryNotFound" if repo in self.hub.repos else "RepoNotFound")
        return self._send(self.hub.repos[repo][name], {"X-Repo-Commit": self.hub.commit(repo)})

    do_HEAD = do_GET

    def _refuse(self, why: str) -> None:
        self._send(b"{}", {"X-Error-Code": why}, status=404)

    def _json(self, record: Any) -> None:
        self._send(json.dumps(record).encode(), {"Content-Type": "application/json"})

    def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
        self.send_response(status)
        tag = hashlib.sha1(content).hexdigest()
        for name, value in {"Content-Length": str(len(content)), "ETag": f'"{tag}"', **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _plain(path: str) -> dict[str, Any]:
    return {"path": path, "uploadMode": "regular", "shouldIgnore": False}


def _entry(name: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
