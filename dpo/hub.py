"""Whether the Hugging Face hub can be reached, asked once and quickly.

The client library retries for most of a minute before it gives up.  A laptop on a train should
hear in a second that the hub is out of reach, and still use what its cache holds.
"""

from __future__ import annotations

import functools
import os
import socket
from urllib.parse import urlsplit


@functools.lru_cache(maxsize=1)
def offline() -> bool:
    """Whether to use the local cache only; if the hub cannot be reached the libraries are told so."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return True
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return False  # behind a proxy a direct connection says nothing
    address = urlsplit(constants.ENDPOINT)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), timeout=4).close()
        return False
    except OSError:
        constants.HF_HUB_OFFLINE = True
        return True
