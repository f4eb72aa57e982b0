"""Every error this project raises on purpose, in one tree.

ReerError
├── UserError            the user can mend it: printed as one sentence, exit code 1
│   ├── ConfigError      a key of the configuration (unknown, wrong type, missing, contradictory)
│   ├── DataError        a file of pairs, trajectories, answers or verdicts
│   ├── ModelError       a model that cannot be found, loaded or used in that role
│   ├── PromptError      a prompt file with a missing or unknown placeholder
│   ├── ClusterError     a cluster that cannot be reached, or on which no worker stays alive
│   └── RunDirError      a run folder that cannot be written, is in use, or belongs to another config
│       └── DiskFullError   there is no room left for what has to be written
├── ExampleError         this one example cannot be worked on: it is quarantined, the rest goes on
│   └── LayoutError      its texts cannot be laid out as token ids
└── BackendError         a request to a model failed: a state of that request, never a value
    ├── Unanswered       a server did not answer it, which another day may be otherwise
    └── WorkerLost       whoever worked on it, elsewhere, is gone: it is begun again from what is recorded
"""


class ReerError(Exception):
    """Root of all errors raised on purpose."""


class UserError(ReerError):
    """The user can mend it; its message is one sentence that names the file, row or key."""


class ConfigError(UserError):
    """A key of the configuration is unknown, missing, of the wrong type, or contradicts another."""


class DataError(UserError):
    """An input file is missing, unreadable, or holds no usable row."""


class ModelError(UserError):
    """A model cannot be found, loaded, or used in the role it was given."""


class PromptError(UserError):
    """A prompt file lacks a placeholder, names an unknown one, or cannot be found."""


class ClusterError(UserError):
    """A cluster cannot be reached, lacks what is asked of it, or its workers die as they start."""


class RunDirError(UserError):
    """A run folder cannot be written, is in use by another process, or belongs to another config."""


class DiskFullError(RunDirError):
    """There is no room left on a disk for what has to be written; what was whole before still is."""


class ExampleError(ReerError):
    """One example cannot be worked on; its message is the reason recorded with it."""


class LayoutError(ExampleError):
    """The texts of one example cannot be turned into token ids under the chosen layout."""


class BackendError(ReerError):
    """A request to a model failed (after its retries)."""


class Unanswered(BackendError):
    """A server did not answer a request, however often it was asked, which another day may be otherwise."""

    def __init__(self, message: str, *, alone: bool = False) -> None:
        """`alone`: others were answered meanwhile, so it may be the request that the server cannot stand."""
        super().__init__(message)
        self.alone = alone


class WorkerLost(BackendError):
    """The process that worked on it, perhaps on another machine, is gone."""
