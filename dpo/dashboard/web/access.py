"""Who may do what: five rights, and what a server grants by how it was started."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit

from flask import g, has_request_context

from dpo.dashboard.web.accounts import Accounts, Role, User
from dpo.errors import AccessError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
EVERY_ADDRESS = frozenset({"0.0.0.0", "::"})


class Right(Enum):
    """What a request does; the value completes "to ..."."""

    READ = "look at runs, votes and data"
    ASK = "let this machine compute: answers, scores, audits of uploads"
    VOTE = "add a vote"
    TRAIN = "start, stop and resume trainings"
    CHANGE = "rename, annotate and delete runs"


_OPEN = frozenset({Right.READ, Right.ASK, Right.VOTE})
_BY_ROLE = {
    Role.VIEW: frozenset({Right.READ}),
    Role.GENERATE: _OPEN,
    Role.TRAIN: frozenset(Right),
}
_REFUSED = {
    Right.TRAIN: "Training from the page is off on this address: start dpo serve with --allow-training",
    Right.CHANGE: "This server is open to the network: change runs on its own machine (dpo runs rm)",
}


@dataclass(frozen=True)
class Access:
    """How the server was started.

    Args:
        host: the address it is bound to.
        names: further host names under which it is reached (`--allowed-host`).
        training: let everybody who reaches it train (`--allow-training`).
        hub: let requests name any model of the Hugging Face hub (`--allow-hub`).
        accounts: who may sign in, and with which role (`--auth`); None lets everybody in who reaches it.
        proxied: a proxy asks in the name of others (`--proxy`), also where it is on this machine.
    """

    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()
    training: bool = False
    hub: bool = False
    accounts: Accounts | None = None
    proxied: bool = False

    @property
    def local(self) -> bool:
        """Whether only this machine reaches the server."""
        return self.host in LOOPBACK and not self.proxied

    def grants(self, right: Right) -> bool:
        """Whether whoever makes the request that is being answered has the right."""
        if self.accounts is not None:
            user = signed_in()
            return user is not None and right in _BY_ROLE[user.role]
        return right in _OPEN or self.local or (right is Right.TRAIN and self.training)

    def require(self, right: Right) -> None:
        """Nothing, if the right is granted.

        Raises:
            AccessError: it is not.
        """
        if not self.grants(right):
            raise AccessError(self.refusal(right))

    def may_grant(self, right: Right) -> bool:
        """Whether anybody has the right."""
        return self.accounts is not None or self.grants(right)

    def refusal(self, right: Right) -> str:
        """The message for whoever lacks the right."""
        user = signed_in()
        if user is None:
            return _REFUSED[right]
        return f"The role {user.role.value} does not let you {right.value}: ask whoever runs this server for another"

    def knows(self, netloc: str) -> bool:
        """Whether a request's `Host` is one of this server's names.

        A foreign page can make its own name point at this machine (DNS rebinding), so a name must be known.  An
        address written in digits cannot be made to point elsewhere: on every address they all are ours.
        """
        name = hostname(netloc)
        if name is None:
            return False
        if name in LOOPBACK or name in {known.lower() for known in (self.host, *self.names)}:
            return True
        return self.host in EVERY_ADDRESS and _is_address(name)

    def block(self, port: int) -> list[str]:
        """The lines that say what is open to whom, for the start of a server that others can reach."""
        names = ", ".join(self.names) or "none; name them with --allowed-host NAME"
        rights = [(right.value, self.grants(right)) for right in Right]
        rights.append(("have any model or data set of the hub downloaded here (--allow-hub)", self.hub))
        where = "every address of this machine" if self.host in EVERY_ADDRESS else self.host
        if self.accounts is not None:
            roles = [user.role.value for user in self.accounts.users().values()]
            many = ", ".join(f"{roles.count(role.value)} {role.value}" for role in Role)
            open_to = [f"Open to the network: {where}, port {port}, for those in {self.accounts.path} ({many})."]
        else:
            open_to = [
                f"Open to the network: {where}, port {port}.  There is no login: everybody who reaches it may",
                *(f"  + {text}" for text, granted in rights if granted),
                "and may not",
                *(f"  - {text}" for text, granted in rights if not granted),
            ]
        return [
            *open_to,
            f"Host names answered to, beside addresses: {names}",
            "What that means in full: docs/security.md",
        ]


LOCAL = Access()
"""This machine alone."""


def signed_in() -> User | None:
    """Who makes the request that is being answered, as the guard found out; None for nobody and outside of requests."""
    user: User | None = g.get("user") if has_request_context() else None
    return user


def hostname(netloc: str) -> str | None:
    """The name in `name:port`, in small letters and without brackets; None if there is none."""
    try:
        return urlsplit(f"//{netloc}").hostname
    except ValueError:
        return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
