"""A process that runs stages in copies of itself which kill themselves (SIGKILL) at a chosen write, and note every
call of a model. A program of its own: it has the stages loaded and no threads, so a copy costs milliseconds."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

WRITES, CALLS = "writes.log", "calls.log"


class Stages:
    """The program, from the tests' side."""

    def __init__(self):
        command = [sys.executable, __file__]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def run(self, stage, folder, *overrides, kill=None):
        """The exit code of a stage in a folder (negative: the signal that ended it), the writes, and the calls by
        what was asked."""
        folder.mkdir(exist_ok=True)
        for name in (WRITES, CALLS):
            (folder / name).write_text("")
        job = {"stage": stage, "folder": str(folder), "overrides": overrides, "kill": kill}
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        code = int(self.process.stdout.readline())
        calls = Counter((folder / CALLS).read_text().split())
        return code, len((folder / WRITES).read_text()), calls


@cache
def config_of(stage, overrides):
    """Composed once for all copies."""
    from hydra import compose, initialize_config_module

    from reer.config import EvaluationConfig, SynthesizeConfig, load, register

    register()
    with initialize_config_module("reer.conf", version_base="1.3"):
        composed = compose(stage, overrides=["experiment=fake", *overrides])
    return load(composed, {"synthesize": SynthesizeConfig, "evaluate": EvaluationConfig}[stage])


def work(job, config):
    """In the copy: never returns. No page is drawn, which writes nothing that is gone on from."""
    from unittest import mock

    os.chdir(job["folder"])
    said = os.open("said.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(said, 1)
    os.dup2(said, 2)
    run = {"synthesize": reer.synthesize.run, "evaluate": eval.run.run}[job["stage"]]
    code = 1
    try:
        prepare(job["kill"])
        with mock.patch("reer.page.report.write_page", lambda folders, path: path):
            code = run(config)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def prepare(kill):
    """Count what is added and asked, and die at the write `kill`: after it, or before it where it is negative (of a
    file of rows in the middle of the line)."""
    from eval.store import Rows
    from reer.backend.fake import FakeGenerator, FakeScorer
    from reer.run.ledger import Ledger

    writes = os.open(WRITES, os.O_WRONLY | os.O_APPEND)
    calls = os.open(CALLS, os.O_WRONLY | os.O_APPEND)
    count = 0

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def counted(owner, name, torn=None, adds=lambda self, *_: True):
        original = getattr(owner, name)

        def write(self, *arguments):
            nonlocal count
            if not adds(self, *arguments):
                return original(self, *arguments)
            count += 1
            os.write(writes, b".")
            if count == -(kill or 0):
                die() if torn is None else torn(self, *arguments)
            found = original(self, *arguments)
            if count == kill:
                die()
            return found

        setattr(owner, name, write)

    def half_a_line(rows, row):
        rows._file.write(json.dumps(row, ensure_ascii=False).encode()[:20])
        rows._file.flush()
        die()

    def noted(owner, name):
        original = getattr(owner, name)

        async def call(self, requests, *more):
            for request in requests:
                os.write(calls, hashlib.sha256(repr(request).encode()).hexdigest()[:16].encode() + b"\n")
            return await original(self, requests, *more)

        setattr(owner, name, call)

    counted(Ledger, "begin", adds=lambda ledger, example: ledger.standing(example)[0] == "new")
    counted(Ledger, "commit")
    counted(Ledger, "finish")
    counted(Rows, "append", half_a_line)
    noted(FakeGenerator, "generate")
    noted(FakeScorer, "score")
    noted(FakeScorer, "next_token")


def serve():
    for line in sys.stdin:
        job = json.loads(line)
        config = config_of(job["stage"], tuple(job["overrides"]))
        copy = os.fork()
        if not copy:
            work(job, config)
        _, status = os.waitpid(copy, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1])]

    import eval.run
    import reer.page.report
    import reer.synthesize

    serve()
