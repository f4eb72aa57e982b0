"""One process of several: `python -m train.rank RUN_DIR/config.yaml`. Reads the frozen config, never Hydra."""

import os
import sys
from pathlib import Path

from reer.config import SftConfig, load_frozen
from reer.errors import UserError
from reer.run.day import dated

from .arguments.processes import check, end_with_parent


def main() -> None:
    """Train, and leave the rest to the process that started this one."""
    from torch.distributed.elastic.multiprocessing.errors import get_error_handler, record

    from reer.run.tracking import NoTracker

    from .examples.work import read
    from .running.training import train

    end_with_parent()
    handler = get_error_handler()
    handler.initialize()

    def run() -> None:
        config = dated(load_frozen(Path(sys.argv[1]), SftConfig))
        check(config)
        train(config, read(config), NoTracker)  # the process that started this one follows metrics.jsonl

    try:
        record(run, handler)()
    except UserError:  # recorded for the parent, which says it once
        os._exit(1)


if __name__ == "__main__":
    main()
