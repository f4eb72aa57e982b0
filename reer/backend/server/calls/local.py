"""A server on this machine is asked directly, whatever proxy the environment names for the rest of the world."""

import os
from importlib.util import find_spec
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from reer.config import OpenAIBackendConfig
from reer.errors import ConfigError


def past_proxies(config: OpenAIBackendConfig) -> dict[str, Any]:
    """What the HTTP client of one address is told so that it takes no proxy to this machine; nothing where
    none is in the way.

    Raises:
        ConfigError: a server elsewhere, and a proxy that the client cannot take.
    """
    named = {key: url for key, url in getproxies().items() if key in ("http", "https", "all")}
    url = config.base_url or os.environ.get("OPENAI_BASE_URL") or ""
    if named and is_local(urlsplit(url).hostname or ""):
        return {"trust_env": False}
    if socks := sorted(key for key, url in named.items() if url.startswith("socks") and not find_spec("socksio")):
        raise ConfigError(f"{socks[0]}_proxy in the environment names a SOCKS proxy, which needs: pip install socksio")
    return {}


def is_local(host: str) -> bool:
    """Whether a host's name or address is this machine's own by definition: localhost, 127.x.x.x, ::1, 0.0.0.0."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
