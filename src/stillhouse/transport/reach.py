"""Whether the hub can be reached at all, asked once before its own client tries five times with growing pauses.

In: HF_ENDPOINT, or the public hub. Out: HF_HUB_OFFLINE is set where its name is not known here, so that what was
downloaded before is found at once, and what was not is told at once.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

PUBLIC = "https://huggingface.co"


def offline_unless_reached() -> None:
    """To be called before the hub's client is imported; leaves alone what the user has set, and proxies."""
    if "HF_HUB_OFFLINE" in os.environ or any(name.lower() == "https_proxy" for name in os.environ):
        return
    host = urlsplit(os.environ.get("HF_ENDPOINT", PUBLIC)).hostname or ""
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"
