"""People with a password and a role: a JSON file, written by `dpo users` and read by `dpo serve --auth FILE`.

Passwords are kept as argon2id hashes, keys for programs as SHA-256 of 256 random bits.  The file is read anew when it
has changed: whoever is removed is out with the next request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from dpo.errors import BusyError, ConfigError
from dpo.files import write_json
from dpo.runs.files import identity, read_object, reason

SHORTEST = 10
"""Letters of a password."""
_LONGEST = 1000
_MOST_USERS = 10_000
_NAME = re.compile(r"[\w][\w.@-]{0,63}")
_KEY = "dpo_"  # how a key begins, so that it is recognised where it was left by mistake
_AT_ONCE = 2  # argon2id as in RFC 9106, low memory, takes 64 MiB and some 50 ms


class Role(Enum):
    """What somebody may do; each has the rights of those before it (`access.rights_of`)."""

    VIEW = "view"
    GENERATE = "generate"
    TRAIN = "train"


@dataclass(frozen=True)
class User:
    """Somebody who may sign in; `password` and `keys` are hashes."""

    name: str
    role: Role
    password: str
    keys: tuple[str, ...] = ()


class Accounts:
    """The users in a file.

    Raises:
        ConfigError: the file cannot be read, is damaged, or others may write it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock, self._turns = threading.Lock(), threading.BoundedSemaphore(_AT_ONCE)
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex())  # for names that nobody has, so that these take as long
        self._known: tuple[object, dict[str, User]] = (None, _read(path))

    def users(self) -> Mapping[str, User]:
        """Everybody by name, as the file says now; nobody while it is damaged."""
        now = identity(self.path)
        with self._lock:
            if self._known[0] != now or now is None:
                try:
                    self._known = now, _read(self.path)
                except ConfigError:
                    self._known = now, {}
            return self._known[1]

    def verify(self, name: str, password: str) -> User | None:
        """Whoever has this name and password; None if nobody has.

        Raises:
            BusyError: too many passwords are being compared, which takes memory.
        """
        user = self.users().get(name)
        if len(password) > _LONGEST:
            return None
        if not self._turns.acquire(timeout=2):
            raise BusyError("Too many sign in just now: try again in a moment")
        try:
            self._hasher.verify(user.password if user else self._nobody, password)
        except (VerificationError, InvalidHashError):
            return None
        finally:
            self._turns.release()
        return user

    def holder(self, key: str) -> User | None:
        """Whose key this is."""
        given = _hashed(key)
        return next((user for user in self.users().values() if given in user.keys), None)


def add(path: Path, name: str, role: Role, password: str) -> None:
    """Write somebody into the file, which is made if it is missing; a new password or role for a name that is there.

    Raises:
        ConfigError: a name or password that cannot be used, or a file that cannot be read.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name[:80]!r} is no name for a user: use letters, digits and . @ _ -, at most 64")
    if not SHORTEST <= len(password) <= _LONGEST:
        raise ConfigError(f"The password has {len(password)} letters: use {SHORTEST} to {_LONGEST}")
    users = _read(path) if path.exists() else {}
    before = users.get(name)
    _write(path, users | {name: User(name, role, PasswordHasher().hash(password), before.keys if before else ())})


def remove(path: Path, name: str) -> None:
    """Take somebody out of the file.

    Raises:
        ConfigError: there is no such name, or the file cannot be read.
    """
    users = _read(path)
    del users[_named(path, users, name).name]
    _write(path, users)


def add_key(path: Path, name: str) -> str:
    """A new key for the programs of a user; it is told once and kept as a hash.

    Raises:
        ConfigError: there is no such name, or the file cannot be read.
    """
    users, key = _read(path), _KEY + secrets.token_urlsafe(32)
    user = _named(path, users, name)
    _write(path, users | {name: replace(user, keys=(*user.keys, _hashed(key)))})
    return key


def _named(path: Path, users: Mapping[str, User], name: str) -> User:
    if name not in users:
        raise ConfigError(f"{path} has no user {name[:80]!r}: dpo users list --auth {path}")
    return users[name]


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode(errors="replace")).hexdigest()


def _read(path: Path) -> dict[str, User]:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o022:
            raise ConfigError(f"Others may write {path}: chmod 600 {path}")
        content = read_object(path)
        entries = content["users"]
        if content.get("format") != 1 or not isinstance(entries, list) or len(entries) > _MOST_USERS:
            raise ValueError("it is no file of users")
        users = [_user(entry) for entry in entries]
    except FileNotFoundError as error:
        raise ConfigError(f"There is no file {path}: make it with dpo users add NAME --auth {path}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({reason(error)}): dpo users add writes it") from error
    return {user.name: user for user in users}


def _user(entry: Mapping[str, Any]) -> User:
    name, password, keys = entry["name"], entry["password"], entry.get("keys", [])
    if not all(isinstance(text, str) for text in (name, password, *keys)):
        raise ValueError("a user has no name or password")
    return User(name, Role(entry["role"]), password, tuple(keys))


def _write(path: Path, users: Mapping[str, User]) -> None:
    rows = [{"name": user.name, "role": user.role.value, "password": user.password, "keys": list(user.keys)}
            for user in users.values()]  # fmt: skip
    write_json(path, {"format": 1, "users": rows})
    path.chmod(0o600)
