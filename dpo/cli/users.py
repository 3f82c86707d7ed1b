"""`dpo users add|list|rm|key`: who may sign in at `dpo serve --auth FILE`."""

from __future__ import annotations

import argparse
import getpass
import sys
from pathlib import Path
from typing import Any

from dpo.cli.arguments import Parser
from dpo.counting import counted
from dpo.errors import ConfigError

_ROLES = ("view", "generate", "train")  # dpo.dashboard.web.accounts.Role, without its imports


def add_users(actions: Any) -> None:
    """Register `dpo users`."""
    users = actions.add_parser("users", help="who may sign in at the dashboard (dpo serve --auth FILE)")
    verbs = users.add_subparsers(dest="verb", required=True, metavar="add|list|rm|key", parser_class=Parser)
    add = verbs.add_parser("add", help="add somebody, or give a new password and role; asks for the password")
    add.add_argument(
        "--role", choices=_ROLES, default="view",
        help="view: look; generate: also ask, score, audit and vote; train: also train, rename and delete [view]",
    )  # fmt: skip
    add.set_defaults(call=add_user)
    listing = verbs.add_parser("list", help="names and roles")
    listing.set_defaults(call=list_users)
    remove = verbs.add_parser("rm", help="remove somebody; sessions and keys end at once")
    remove.set_defaults(call=remove_user)
    key = verbs.add_parser("key", help="a key for programs: Authorization: Bearer KEY; it is shown once")
    key.set_defaults(call=make_key)
    for verb in (add, remove, key):
        verb.add_argument("name", metavar="NAME", help="of the user")
    for verb in (add, listing, remove, key):
        verb.add_argument("--auth", type=Path, required=True, metavar="FILE", help="the file of users")


def add_user(arguments: argparse.Namespace) -> int:
    """`dpo users add`.

    Raises:
        ConfigError: a name, password or file that cannot be used.
    """
    from dpo.dashboard.web.accounts import Role, add

    add(arguments.auth, arguments.name, Role(arguments.role), _password())
    print(f"{arguments.name} may {arguments.role}: dpo serve --host ADDRESS --auth {arguments.auth}")
    return 0


def list_users(arguments: argparse.Namespace) -> int:
    """`dpo users list`.

    Raises:
        ConfigError: the file cannot be read.
    """
    from dpo.dashboard.web.accounts import Accounts

    for user in Accounts(arguments.auth).users().values():
        keys = f"  {counted(len(user.keys), 'key')}" if user.keys else ""
        print(f"{user.name:<24} {user.role.value}{keys}")
    return 0


def remove_user(arguments: argparse.Namespace) -> int:
    """`dpo users rm`.

    Raises:
        ConfigError: there is no such user, or the file cannot be read.
    """
    from dpo.dashboard.web.accounts import remove

    remove(arguments.auth, arguments.name)
    print(f"{arguments.name} is removed")
    return 0


def make_key(arguments: argparse.Namespace) -> int:
    """`dpo users key`.

    Raises:
        ConfigError: there is no such user, or the file cannot be read.
    """
    from dpo.dashboard.web.accounts import add_key

    print(add_key(arguments.auth, arguments.name))
    return 0


def _password() -> str:
    if not sys.stdin.isatty():  # from a password manager, or a script
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise ConfigError("The two passwords differ: try again")
    return password
