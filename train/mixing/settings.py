"""From a config, and from what stands beside the trajectories, to the rules of a mix."""

from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from reer.config import MixingConfig
from reer.errors import ConfigError

from .rules import Rules, one_of, plain, thinking_of
from .schemas import SCHEMAS

LENGTHS, USES, UNKNOWN = ("long", "short"), ("research", "commercial"), ("refuse", "allow")


def rules_of(config: MixingConfig) -> Rules:
    """The rules of a config.

    Raises:
        ConfigError: a value that there is none of, or two that contradict each other.
    """
    mix, general = config.mix, config.mix.general
    one_of("mix.length", mix.length, LENGTHS)
    one_of("mix.use", mix.use, USES)
    one_of("mix.general.schema", general.schema, SCHEMAS)
    one_of("licence.unknown", config.licence.unknown, UNKNOWN)
    thinking_of(mix, config.data)
    for key in ("domains", "without_domains"):
        if any(not plain(name) for name in getattr(mix, key)):
            raise ConfigError(f"mix.{key} holds a name without a letter")
    if general.ratio is not None and not (general.path or general.hub):
        raise ConfigError(
            f"mix.general.ratio={general.ratio}: of what? mix.general.path=FILE or mix.general.hub=ID says"
        )
    searched = Path(config.data.trajectories).with_name("config.yaml")
    pairs = _said(searched, "data.path")
    collected = Path(pairs).with_name("config.yaml") if pairs else None
    return Rules(
        mix=mix,
        allow_unknown=config.licence.unknown == "allow",
        seed=config.seed if mix.seed is None else mix.seed,
        blind_search=_said(searched, "search.start") == "blind",
        own_files=collected is not None and _said(collected, "source.kind") not in (None, "dataset"),
    )


def _said(frozen: Path, key: str) -> str | None:
    """What the config that a stage froze in its folder says; None: nothing, or there is none."""
    try:
        found = OmegaConf.select(OmegaConf.load(frozen), key)
    except (OSError, YAMLError, OmegaConfBaseException):
        return None
    return None if found is None else str(found)
