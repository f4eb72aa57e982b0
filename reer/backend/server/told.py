"""Where a server is, and what it said, in words that hold no key."""

import os
import re
from typing import Any
from urllib.parse import urlsplit

from reer.config import OpenAIBackendConfig
from reer.errors import ConfigError

PUBLIC = "https://api.openai.com/v1"
"""Where the openai client goes by itself."""
TOLD = 300
"""Characters of a server's complaint that are passed on."""
LONG = 8
"""Characters from which on a key is looked for inside words as well."""

_SAID = ("error", "errors", "detail", "code", "type", "status", "param", "loc", "message", "msg")


def client_arguments(config: OpenAIBackendConfig) -> dict[str, Any]:
    """Where the server is and how patient to be with it.

    Raises:
        ConfigError: a public server and no key for it.
    """
    key = os.environ.get(config.api_key_env)
    if not key and not config.base_url and not os.environ.get("OPENAI_BASE_URL"):
        raise ConfigError(f"backend=openai needs a key in the environment variable {config.api_key_env}")
    return {
        "base_url": config.base_url,
        "api_key": key or "none",
        "timeout": config.timeout,
        "max_retries": config.max_retries,
    }


def address_of(config: OpenAIBackendConfig) -> str:
    """The server's address, without a name or password in it."""
    parts = urlsplit(config.base_url or os.environ.get("OPENAI_BASE_URL") or PUBLIC)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


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
