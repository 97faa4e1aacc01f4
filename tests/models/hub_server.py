"""A stand-in of the Hugging Face hub on 127.0.0.1, for the library's own client: repositories, commits, files."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_test"


class Hub:
    """Repositories in memory: ``commits`` of each are its files by path, the newest last; ``downloads``: paths.

    ``parents``: the commits on which those of the client are based.
    """

    def __init__(self) -> None:
        self.commits: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.downloads: list[str] = []
        self.requests: list[str] = []
        self.parents: list[str | None] = []

    def commit(self, repository: str, files: dict[str, bytes]) -> str:
        """Add a commit to a repository, and return its id."""
        commits = self.commits.setdefault(repository, {})
        content = repr((len(commits), sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items())))
        oid = hashlib.sha1(content.encode()).hexdigest()
        commits[oid] = files
        return oid

    def files_at(self, repository: str, revision: str) -> tuple[str, dict[str, bytes]]:
        commits = self.commits[repository]
        oid = list(commits)[-1] if revision == "main" else revision
        return oid, commits[oid]

    def apply(self, repository: str, lines: list[dict[str, Any]]) -> str:
        """Apply the operations of a commit."""
        files = dict(self.files_at(repository, "main")[1])
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.parents.append(value.get("parentCommit"))
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        return self.commit(repository, files)


class Handler(BaseHTTPRequestHandler):
    """The requests of the client that uploads and downloads need."""

    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Write no log."""

    def do_GET(self) -> None:
        self._read()

    def do_HEAD(self) -> None:
        self._read()

    def do_PUT(self) -> None:
        oid = self.path.rsplit("/", 1)[-1]
        self.hub.large[oid] = self._body()
        assert hashlib.sha256(self.hub.large[oid]).hexdigest() == oid
        self._send(b"")

    def do_POST(self) -> None:
        path, body = urlsplit(self.path).path, self._body()
        self.hub.requests.append(path)
        if path == "/api/validate-yaml":
            self._send_json({"errors": [], "warnings": []})
            return
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._send_json({"error": "Invalid username or password."}, status=401)
        elif path == "/api/repos/create":
            values = json.loads(body)
            repository = f"{values['organization']}/{values['name']}" if values.get("organization") else values["name"]
            if repository not in self.hub.commits:
                self.hub.commit(repository, {".gitattributes": b""})
                self.hub.private[repository] = values.get("visibility") == "private" or bool(values.get("private"))
            self._send_json({"url": f"http://{self.headers['Host']}/{repository}", "name": repository, "id": "1"})
        elif "/preupload/" in path:
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > 20_000 else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._send_json({"files": modes})
        elif path.endswith("/info/lfs/objects/batch"):
            host = self.headers["Host"]
            objects = [
                {**item, "actions": {"upload": {"href": f"http://{host}/lfs/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ]
            self._send_json({"transfer": "basic", "objects": objects})
        else:
            repository = path.removeprefix("/api/models/").partition("/commit/")[0]
            oid = self.hub.apply(repository, [json.loads(line) for line in body.splitlines()])
            url = f"http://{self.headers['Host']}/{repository}/commit/{oid}"
            self._send_json({"success": True, "commitOid": oid, "commitUrl": url})

    def _read(self) -> None:
        """Send what a model is, its files, or the content of one of them."""
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(path)
        try:
            if "/resolve/" in path:
                repository, _, rest = path.removeprefix("/").partition("/resolve/")
                revision, _, name = rest.partition("/")
                oid, files = self.hub.files_at(repository, revision)
                if self.command == "GET":
                    self.hub.downloads.append(name)
                tag = hashlib.sha1(files[name]).hexdigest()
                self._send(files[name], {"ETag": f'"{tag}"', "X-Repo-Commit": oid})
                return
            repository, _, rest = path.removeprefix("/api/models/").partition("/revision/")
            repository, _, tree = repository.partition("/tree/")
            oid, files = self.hub.files_at(repository, rest or tree or "main")
        except KeyError:
            self._send_json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        if tree:
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ]
            self._send_json(entries)
        else:
            siblings = [{"rfilename": name} for name in files]
            self._send_json({"id": repository, "sha": oid, "private": False, "tags": [], "siblings": siblings})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send_json(self, values: object, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(values).encode(), {"Content-Type": "application/json", **(headers or {})}, status)

    def _send(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def serve(hub: Hub) -> ThreadingHTTPServer:
    """Start a server in a thread; its owner shuts it down."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("HandlerOfHub", (Handler,), {"hub": hub}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
