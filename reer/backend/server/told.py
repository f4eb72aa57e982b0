"""Where a server is, and what it said, in words that hold no key."""

import os
import re
import sys
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from tqdm import tqdm

from reer.config import OpenAIBackendConfig
from reer.errors import ConfigError

PUBLIC = "https://api.openai.com/v1"
"""Where the openai client goes by itself."""
TOLD = 300
"""Characters of a server's complaint that are passed on."""
LONG = 8
"""Characters from which on a key is looked for inside words as well."""

_SAID = ("error", "errors", "detail", "code", "type", "status", "param", "loc", "message", "msg")


def urls_of(config: OpenAIBackendConfig) -> list[str | None]:
    """Its addresses, at least one; None: that of the environment, or the public one.

    Raises:
        ConfigError: one is no address, or stands there twice.
    """
    found = config.base_url if isinstance(config.base_url, list | tuple) else [config.base_url or None]
    if not found or len(set(map(str, found))) < len(found):
        raise ConfigError(f"base_url={config.base_url}: every server is named once, and there has to be one")
    for url in found:
        if not (url is None and len(found) == 1) and urlsplit(str(url)).scheme not in ("http", "https"):
            raise ConfigError(f"base_url={url}: an address begins with http:// or https://")
    return list(found)


def apart(config: OpenAIBackendConfig) -> list[OpenAIBackendConfig]:
    """One config for each address."""
    return [replace(config, base_url=url) for url in urls_of(config)]


def client_arguments(config: OpenAIBackendConfig) -> dict[str, Any]:
    """What the openai client is told of a config with one address. How often to ask and how long to wait for a whole
    reply is not its business.

    Raises:
        ConfigError: a public server and no key for it, or what is no address.
    """
    from openai import Timeout

    [url, *_] = urls_of(config)
    key = os.environ.get(config.api_key_env)
    if not key and not url and not os.environ.get("OPENAI_BASE_URL"):
        raise ConfigError(f"backend=openai needs a key in the environment variable {config.api_key_env}")
    timeout = Timeout(None, connect=config.connect_timeout)
    return {"base_url": url, "api_key": key or "none", "timeout": timeout, "max_retries": 0}


def address_of(config: OpenAIBackendConfig) -> str:
    """The server's address, without a name or password in it; of several servers each."""
    return ", ".join(_plain(url or os.environ.get("OPENAI_BASE_URL") or PUBLIC) for url in urls_of(config))


def _plain(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def say(message: str) -> None:
    """A line above the progress bars, where there are any."""
    tqdm.write(message, file=sys.stderr)


def name_of(config: OpenAIBackendConfig) -> str:
    """The model and where it is served."""
    return f"{config.model_name} at {address_of(config)}"


def told(error: Exception, config: OpenAIBackendConfig) -> str:
    """The error in one line, without the key that a server may have repeated in it."""
    text, body = str(error), getattr(error, "body", None)
    if text == f"Error code: {getattr(error, 'status_code', '')}":  # the client knows one form of complaint alone
        text = f"{text} - {words_of(body)}"
    return scrubbed(f"{type(error).__name__}: {text}", config)


def scrubbed(text: str, config: OpenAIBackendConfig) -> str:
    """A server's words in one line, cut, without the key. A short key ("x", "EMPTY") is one only where it stands
    alone."""
    line, key = " ".join(text.split()), os.environ.get(config.api_key_env)
    if key:
        alone = re.escape(key) if len(key) >= LONG else rf"(?<!\w){re.escape(key)}(?!\w)"
        line = re.sub(alone, lambda _: f"${config.api_key_env}", line)
    return line[:TOLD]


def words_of(body: Any) -> str:
    """What the body of an error says itself: a server may repeat the whole request beside it."""
    if isinstance(body, str):
        return body[:TOLD]
    if isinstance(body, list):
        return " ".join(map(words_of, body))
    if isinstance(body, dict):
        return " ".join(words_of(body[key]) for key in _SAID if key in body)
    return ""
