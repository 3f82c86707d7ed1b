"""A stand-in for the part of the hub's HTTP API that publishing and fetching a model goes through.

The client library has no local mode, so the real client talks to this over HTTP (`HF_ENDPOINT`).
Uploads take the LFS way (`HF_HUB_DISABLE_XET`); Xet's storage servers are not imitated.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml
from flask import Flask, Response, jsonify, request
from werkzeug.serving import make_server

TOKEN = "hf_stand_in"


@dataclass
class Repo:
    """One model: its files and whether it is private."""

    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    messages: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        """Changes with every commit, 40 hex digits."""
        return hashlib.sha1(repr((len(self.messages), sorted(self.files))).encode()).hexdigest()


@dataclass
class Hub:
    """What is stored, and where the server answers."""

    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)

    def readable(self, name: str) -> Repo | None:
        """The repository, if it is there and whoever asks may read it."""
        repo = self.repos.get(name)
        return repo if repo is not None and (_known() or not repo.private) else None

    def environment(self, token: str | None = TOKEN) -> dict[str, str]:
        """Variables with which the client library talks to this server."""
        return {
            "HF_ENDPOINT": self.url, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": token or "",
        }  # fmt: skip


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub of its own on a free port."""
    hub = Hub()
    server = make_server("127.0.0.1", 0, _application(hub), threaded=True)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()


def _application(hub: Hub) -> Flask:
    app = Flask("stand-in")
    for add in (_repositories, _uploads, _downloads):
        add(app, hub)
    return app


def _known() -> bool:
    return request.headers.get("Authorization") == f"Bearer {TOKEN}"


def _refused() -> Response:
    return Response('{"error": "Invalid username or password."}', 401, content_type="application/json")


def _missing() -> Response:
    return Response("{}", 404, {"X-Error-Code": "RepoNotFound"}, content_type="application/json")


def _repositories(app: Flask, hub: Hub) -> None:
    @app.post("/api/repos/create")
    def create() -> Any:
        if not _known():
            return _refused()
        asked = request.get_json(force=True)
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        url = {"url": f"{hub.url}/{name}"}
        if name in hub.repos:
            return jsonify(url), 409
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        hub.repos[name] = Repo(private)
        return jsonify(url)

    @app.post("/api/validate-yaml")
    def validate() -> Any:
        block = yaml.safe_load(request.get_json(force=True)["content"].split("---\n")[1])
        wrong = [] if isinstance(block, dict) and block else [{"message": "no metadata"}]
        return jsonify({"errors": wrong, "warnings": []}), 400 if wrong else 200

    @app.post("/api/models/<user>/<name>/preupload/main")
    def preupload(user: str, name: str) -> Any:
        if not _known():
            return _refused()
        files = [
            {
                "path": file["path"], "shouldIgnore": False, "oid": None,
                "uploadMode": "lfs" if file["path"].endswith((".safetensors", ".png")) else "regular",
            }
            for file in request.get_json(force=True)["files"]
        ]  # fmt: skip
        return jsonify({"files": files})


def _uploads(app: Flask, hub: Hub) -> None:
    @app.post("/<user>/<name>.git/info/lfs/objects/batch")
    def batch(user: str, name: str) -> Any:
        objects = [
            {
                "oid": item["oid"], "size": item["size"], "authenticated": True,
                "actions": {"upload": {"href": f"{hub.url}/blobs/{item['oid']}", "header": {}}},
            }
            for item in request.get_json(force=True)["objects"]
        ]  # fmt: skip
        return jsonify({"transfer": "basic", "objects": objects})

    @app.put("/blobs/<oid>")
    def blob(oid: str) -> Any:
        assert hashlib.sha256(request.data).hexdigest() == oid
        hub.blobs[oid] = request.data
        return "", 200

    @app.post("/api/models/<user>/<name>/commit/main")
    def commit(user: str, name: str) -> Any:
        if not _known():
            return _refused()
        repo = hub.repos[f"{user}/{name}"]
        for line in request.data.splitlines():
            part = json.loads(line)
            if part["key"] == "header":
                repo.messages.append(part["value"]["summary"])
            elif part["key"] == "file":
                repo.files[part["value"]["path"]] = base64.b64decode(part["value"]["content"])
            elif part["key"] == "deletedFile":
                del repo.files[part["value"]["path"]]
            elif part["key"] == "lfsFile":
                repo.files[part["value"]["path"]] = hub.blobs[part["value"]["oid"]]
                repo.large.add(part["value"]["path"])
        url = f"{hub.url}/{user}/{name}/commit/{repo.sha}"
        return jsonify({"success": True, "commitOid": repo.sha, "commitUrl": url})


def _downloads(app: Flask, hub: Hub) -> None:
    @app.get("/api/models/<user>/<name>")
    @app.get("/api/models/<user>/<name>/revision/<revision>")
    def information(user: str, name: str, revision: str = "main") -> Any:
        repo = hub.readable(f"{user}/{name}")
        if repo is None:
            return _missing()
        if revision not in ("main", repo.sha):
            return Response("{}", 404, {"X-Error-Code": "RevisionNotFound"}, content_type="application/json")
        siblings = [{"rfilename": path} for path in repo.files]
        told = {"id": f"{user}/{name}", "sha": repo.sha, "siblings": siblings, "private": repo.private}
        return jsonify(told | {"lastModified": "2025-03-01T10:00:00.000Z"})

    @app.get("/api/models/<user>/<name>/tree/<revision>")
    def tree(user: str, name: str, revision: str) -> Any:
        repo = hub.readable(f"{user}/{name}")
        if repo is None:
            return _missing()
        return jsonify([_entry(repo, path) for path in repo.files])

    @app.route("/<user>/<name>/resolve/<revision>/<path:path>", methods=["GET", "HEAD"])
    def resolve(user: str, name: str, revision: str, path: str) -> Any:
        repo = hub.readable(f"{user}/{name}")
        if repo is None:
            return _missing()
        if path not in repo.files:
            return Response("", 404, {"X-Error-Code": "EntryNotFound"})
        content = repo.files[path]
        headers = {"X-Repo-Commit": repo.sha, "ETag": f'"{_oid(content)}"', "X-Linked-Size": str(len(content))}
        return Response(content, 200, headers, content_type="application/octet-stream")


def _entry(repo: Repo, path: str) -> dict[str, Any]:
    content = repo.files[path]
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}
    if path in repo.large:
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def _oid(content: bytes) -> str:
    """As git names a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
