"""A stand-in for the Hugging Face Hub on the loopback address: the few routes that downloads and pushes use."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Repository:
    """Commits are whole trees; the last one is the head of main."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False

    def commit(self, files: dict[str, bytes], *names: str) -> str:
        """Add files on top of main; `names` are further branches or tags of the new commit."""
        tree = {**self.commits.get(self.refs.get("main", ""), {}), **files}
        sha = hashlib.sha1(repr((len(self.commits), sorted(tree.items()))).encode()).hexdigest()
        self.commits[sha] = tree
        self.refs.update(dict.fromkeys(("main", *names), sha))
        return sha


@dataclass
class Hub:
    """What the server holds and what it was asked.

    Attributes:
        url: ``http://127.0.0.1:PORT``.
        repositories: By ``user/repo``.
        requests: "METHOD path" in the order of arrival.
        token: If set, writing needs it.
        status: If set, every answer has this status and nothing else.
        cut_after: If set, the next download stops after so many bytes.
        ranges: The Range headers of downloads.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    token: str | None = None
    status: int | None = None
    cut_after: int | None = None
    ranges: list[str | None] = field(default_factory=list)

    def asked(self, method: str) -> list[str]:
        """Paths asked for with a method."""
        return [request.split(" ", 1)[1] for request in self.requests if request.startswith(f"{method} ")]


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Serve in a thread."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub

    def do_GET(self) -> None:
        self._read()

    def do_HEAD(self) -> None:
        self._read()

    def do_POST(self) -> None:
        path = self._log()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = path.strip("/").split("/")
        if self.state.status is not None:
            self._answer(self.state.status)
        elif self.state.token is not None and self.headers.get("Authorization") != f"Bearer {self.state.token}":
            self._answer(401, headers={"X-Error-Message": "Invalid credentials in Authorization header"})
        elif path == "/api/validate-yaml":
            self._json({"warnings": [], "errors": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif parts[4] == "preupload":
            asked = [entry["path"] for entry in json.loads(body)["files"]]
            self._json({"files": [{"path": f, "uploadMode": "regular", "shouldIgnore": False} for f in asked]})
        elif parts[4] == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            files = {
                line["value"]["path"]: base64.b64decode(line["value"]["content"])
                for line in lines
                if line["key"] == "file"
            }
            name = "/".join(parts[2:4])
            sha = self.state.repositories[name].commit(files)
            self._json({"commitUrl": f"{self.state.url}/{name}/commit/{sha}", "commitOid": sha})
        else:
            self._answer(404)

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        exists = name in self.state.repositories
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.state.repositories.setdefault(name, Repository(private=private))
        self._json({"url": f"{self.state.url}/{name}", "id": name}, 409 if exists else 200)

    def _read(self) -> None:
        parts = self._log().strip("/").split("/")
        if self.state.status is not None:
            self._answer(self.state.status)
            return
        is_api = parts[:2] == ["api", "models"]
        name = "/".join(parts[2:4] if is_api else parts[:2])
        rest = parts[4:] if is_api else parts[2:]
        repository = self.state.repositories.get(name)
        if repository is None:
            self._answer(401, headers={"X-Error-Code": "RepoNotFound"})
            return
        revision = rest[1] if len(rest) > 1 else "main"
        sha = repository.refs.get(revision, revision)
        tree = repository.commits.get(sha)
        if is_api and tree is None and revision == "main":
            self._json({"id": name, "private": repository.private, "siblings": []})
        elif tree is None:
            self._answer(404, headers={"X-Error-Code": "RevisionNotFound"})
        elif is_api:
            files = [{"rfilename": file} for file in tree]
            self._json({"id": name, "sha": sha, "private": repository.private, "siblings": files})
        elif repository.gated:
            self._answer(403, headers={"X-Error-Code": "GatedRepo"})
        else:
            self._send(tree["/".join(rest[2:])], sha)

    def _send(self, content: bytes, sha: str) -> None:
        etag = hashlib.sha256(content).hexdigest()
        asked = self.headers.get("Range")
        first = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        headers = {"X-Repo-Commit": sha, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if asked:
            headers["Content-Range"] = f"bytes {first}-{len(content) - 1}/{len(content)}"
        if self.command == "GET":
            self.state.ranges.append(asked)
            if self.state.cut_after is not None:
                cut, self.state.cut_after = self.state.cut_after, None
                self._answer(200, content[:cut], {**headers, "Content-Length": str(len(content))})
                self.close_connection = True
                return
        self._answer(206 if asked else 200, content[first:], headers)

    def _json(self, value: object, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _log(self) -> str:
        # a slash inside a revision arrives quoted and must not become a separator
        path = "/".join(unquote(part) if "%2F" not in part else part for part in urlsplit(self.path).path.split("/"))
        self.state.requests.append(f"{self.command} {path}")
        return path

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
