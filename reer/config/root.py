"""The root schema of the whole chain, as Hydra gets to know it."""

from dataclasses import dataclass

from hydra.core.config_store import ConfigStore

from reer.config.collect import CollectConfig
from reer.config.dataset import ExportingConfig
from reer.config.engines import BACKENDS
from reer.config.evaluate import JUDGES, EvaluationConfig
from reer.config.sft import PlanningConfig
from reer.config.synthesize import SynthesizeConfig


@dataclass(kw_only=True)
class ReerConfig(CollectConfig, SynthesizeConfig, PlanningConfig, ExportingConfig, EvaluationConfig):
    """The root schema: everything any stage reads, so that one experiment file describes the whole chain."""


def register() -> None:
    """Put the schema into Hydra's ConfigStore. Group files begin with `defaults: [schema_…, _self_]`."""
    store = ConfigStore.instance()
    store.store(name="reer_schema", node=ReerConfig)
    for group, variants in (("backend", BACKENDS), ("judge", JUDGES)):
        for kind, schema in variants.items():
            store.store(group=group, name=f"schema_{kind}", node=schema)
