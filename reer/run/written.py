"""Texts in the user's own YAML files that YAML takes for numbers: `name: 1.10` would name the folder 1.1.

Knows where Hydra found the files of a job; the loader has lost how the number was written, so they are read once more.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from reer.config.keys import is_text
from reer.errors import ConfigError


def refuse_numbers() -> None:
    """Look at every file that the job's config was made of, but for those of this package.

    Raises:
        ConfigError: a key whose value is a text has a number or a truth value there that reads otherwise as a text.
    """
    for path, group in _files():
        text = path.read_text(encoding="utf-8")
        prefix = "" if "@package _global_" in text.partition("\n")[0] else _mounted(group)
        loaded = OmegaConf.load(path)
        for key, written in _plain_scalars(yaml.compose(text), ""):
            read = OmegaConf.select(loaded, key) if is_text(prefix + key) and "${" not in written else None
            if read is not None and str(read) != written:
                raise ConfigError(
                    f"{path}: {key}: {written} is no text to YAML and would become {read}: put it into quotes"
                )


def _files() -> Iterator[tuple[Path, str]]:
    """Files that are there, each with the group it is an option of (none: a root config)."""
    job = HydraConfig.get()
    chosen = [(str(group).partition("@")[0], option) for group, option in job.runtime.choices.items()]
    for source in job.runtime.config_sources:
        for group, option in [("", job.job.config_name), *chosen]:
            path = Path(source.path, group, f"{option}.yaml")
            if source.schema == "file" and path.is_file():
                yield path, group


def _mounted(group: str) -> str:
    """Where the keys of a group's file stand, in one of its places."""
    return {"": "", "backend": "generator."}.get(group, f"{group.replace('/', '.')}.")


def _plain_scalars(node: yaml.Node | None, key: str) -> Iterator[tuple[str, str]]:
    """Every value without quotes, by its dotted key, as it is written."""
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _plain_scalars(value, f"{key}.{name.value}" if key else name.value)
    elif isinstance(node, yaml.ScalarNode) and node.style is None:
        yield key, node.value
