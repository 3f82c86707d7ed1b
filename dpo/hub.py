"""Whether the Hugging Face hub may and can be asked.

The client library retries for most of a minute before it gives up.  A laptop on a train should
hear in a second that the hub is out of reach, and still use what its cache holds.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

_FRESH_SECONDS = 60.0  # a laptop comes and goes
_lock = threading.Lock()
_probed: tuple[float, bool] | None = None  # when, and whether the hub was out of reach
_forbidden: str | None = None


def offline() -> bool:
    """Whether to use the local cache only; the libraries are told the same.

    The hub is tried again a minute after it was last tried.
    """
    global _probed
    from huggingface_hub import constants

    with _lock:
        if _forbidden is not None or (constants.HF_HUB_OFFLINE and not (_probed and _probed[1])):
            _tell(True)
            return True  # told so by the user
        if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
            return False  # behind a proxy a direct connection says nothing
        now = time.monotonic()
        if _probed is None or now - _probed[0] > _FRESH_SECONDS:
            _probed = now, not _reachable(constants.ENDPOINT)
            _tell(_probed[1])
        return _probed[1]


def forbid(why: str) -> None:
    """Let this process ask the hub for nothing; `why` is said where the cache has not what is wanted."""
    global _forbidden
    with _lock:
        _forbidden = why
        _tell(True)


def forbidden() -> bool:
    """Whether this process may ask the hub for nothing."""
    return _forbidden is not None


def send_no_token() -> None:
    """Let this process ask without the token that is stored on this machine, or in its environment."""
    from huggingface_hub import constants

    constants.HF_HUB_DISABLE_IMPLICIT_TOKEN = True


def send_no_telemetry() -> None:
    """Let the libraries report to nobody what is trained, here and in processes started from here.

    TRL tells the hub's owner of every trainer that is made: model type, device, kind of data. Whoever wants that
    sets HF_HUB_DISABLE_TELEMETRY=0.
    """
    if "HF_HUB_DISABLE_TELEMETRY" in os.environ:
        return
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    constants = sys.modules.get("huggingface_hub.constants")  # which read the environment when it was imported
    if constants is not None:
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]


def why_offline() -> str:
    """Why the hub is not asked, and what to do."""
    return _forbidden or "the hub cannot be reached: check the connection"


def _tell(unreachable: bool) -> None:
    from huggingface_hub import constants

    constants.HF_HUB_OFFLINE = unreachable
    config = sys.modules.get("datasets.config")  # which copied the setting when it was imported
    if config is not None:
        config.HF_HUB_OFFLINE = unreachable  # type: ignore[attr-defined]


def _reachable(endpoint: str) -> bool:
    address = urlsplit(endpoint)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=4).close()
    except OSError:
        return False
    return True
