"""The generator of `backend=hf`: samples join and leave a running batch at any step, so none waits for another.

A prompt is run once for all its samples, and what it shares with earlier prompts not at all (`forward.py`). Every
sample has a row with keys and values of its own length; a row that ends makes room at once. The draw of a sample
depends on its seed alone, never on its neighbours. (Its text may still differ where the order of a sum changes the
last bit of a logit.) Knows token ids and models; what the texts mean is the callers' business.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from reer.backend import sampling
from reer.backend.batching import WORKER
from reer.backend.models import ends, load_model, load_tokenizer, prompt_ids
from reer.backend.packed.attention import PROBE, attention, check_fit, register
from reer.backend.packed.forward import PackedForward, Wanted
from reer.backend.packed.rows import NAME, Row, RowCache, Step, attend_rows
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import HFBackendConfig
from reer.errors import BackendError, Unanswered
from reer.types import FinishReason, GenerateRequest, Response, Usage

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

SLICE = 8
"""Steps between which scoring gets its turn and new samples may join."""
STOP_WINDOW = 32
"""Tokens at the end of a text in which a stop text is looked for."""


class ContinuousGenerator:
    """Draws samples of many requests in one running batch."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: ChatTokenizer,
        *,
        max_length: int,
        batch_size: int = 32,
        row_tokens: int = 65536,
        token_budget: int = 2048,
        kept_tokens: int = 16384,
    ) -> None:
        """See `config.HFBackendConfig` for the sizes.

        Raises:
            DoesNotFit: the model cannot be run row by row.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.batch_size = self._most = batch_size
        self.row_tokens = row_tokens
        register(NAME, attend_rows)
        self._body = PackedForward(model, token_budget, kept_tokens)
        self._ends = ends(tokenizer, model.generation_config)
        self._waiting: deque[list[Row]] = deque()
        self._rows: list[Row] = []
        self._joining: list[Row] = []
        self._ended: list[Row] = []
        self._cache = RowCache()
        self._task: asyncio.Task[None] | None = None
        self._check()

    @classmethod
    def load(cls, config: HFBackendConfig) -> "ContinuousGenerator":
        """Raises: ModelError: it cannot be loaded; DoesNotFit: it cannot be run row by row."""
        return cls(
            load_model(config.model),
            load_tokenizer(config.model),
            max_length=config.model.max_length,
            batch_size=config.batch_size,
            row_tokens=config.row_tokens,
            token_budget=config.token_budget,
            kept_tokens=config.kept_tokens,
        )

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response]]:
        """See `types.Generator`."""
        loop = asyncio.get_running_loop()
        groups = [self._as_rows(request, loop) for request in requests]
        self._waiting.extend(groups)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        return [list(await asyncio.gather(*(row.future for row in group))) for group in groups]

    def _as_rows(self, request: GenerateRequest, loop: asyncio.AbstractEventLoop) -> list[Row]:
        prompt = prompt_ids(self.tokenizer, request)
        if len(prompt) + request.max_tokens > self.max_length:
            raise BackendError(f"prompt of {len(prompt)} tokens leaves no room to generate")
        numbers = sampling.uniform(request.seeds, request.max_tokens)
        return [Row(request, prompt, n, loop.create_future()) for n in numbers]

    async def _drain(self) -> None:
        """Advance the batch, slice by slice, as long as anybody waits; scoring gets the worker in between."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # let the other coroutines that are ready submit theirs first
        while self._waiting or self._rows:
            try:
                await loop.run_in_executor(WORKER, self._advance)
            except Exception as error:  # handed to everyone who waits
                self._give_up(error)
            self._answer()

    def _answer(self) -> None:
        """To those whose samples have ended, whatever became of the slice afterwards."""
        for row in self._ended:
            if row.future.done():
                continue
            if row.error is None:
                row.future.set_result(self._response(row))
            else:
                row.future.set_exception(row.error)

    def _give_up(self, error: Exception) -> None:
        rows = [*self._running(), *(row for group in self._waiting for row in group)]
        self._waiting.clear()
        self._restart()
        for row in rows:
            if not row.future.done():
                row.future.set_exception(error)

    def _running(self) -> list[Row]:
        """Rows in the batch and those whose prompts are being run, each once."""
        return list(dict.fromkeys((*self._rows, *self._joining)))

    def _restart(self) -> None:
        self._rows, self._joining, self._cache = [], [], RowCache()
        self._body.kept.clear()

    def _advance(self) -> None:
        """A slice of steps; the rows that end in it are in `_ended` afterwards."""
        import torch

        self._ended = []
        try:
            self._admit()
            for _ in range(SLICE):
                if self._rows:
                    self._step()
        except torch.OutOfMemoryError as error:
            self._fewer(error)

    def _fewer(self, error: Exception) -> None:
        """Begin again with half as many rows; one that does not fit by itself has failed. Draws depend on seeds alone,
        so the same samples come out."""
        import torch

        rows = [row for row in self._running() if row not in self._ended]
        self._restart()
        torch.cuda.empty_cache()
        if len(rows) == 1 and self.batch_size == 1:
            self.batch_size = self._most  # what was too large is gone
            rows[0].error = Unanswered(f"out of memory: {error}", alone=True)
            self._ended.append(rows[0])
            return
        for row in rows:
            row.tokens.clear()
        self._waiting.extendleft([row] for row in reversed(rows))
        self.batch_size = max(1, min(self.batch_size, len(rows)) // 2)
        log.warning("out of memory: the generator goes on with %s samples at once", self.batch_size)

    def _admit(self) -> None:
        """Run the prompts of as many waiting samples as there is room for, and draw their first tokens."""
        started = time.perf_counter()
        groups = sorted(self._fitting(), key=lambda group: group[0].prompt)
        self._joining = [row for group in groups for row in group]
        wanted = [Wanted(group[0].prompt, len(group[0].prompt) - 1, whole=True) for group in groups]
        for found in self._body.hidden(wanted):
            for rows in found:
                group = groups[rows.owner]
                self._cache.add(rows.path, len(group))
                self._rows += group
                new = len(group[0].prompt) - self._body.reused[rows.owner]
                group[0].usage += Usage(calls=1, prefilled_tokens=new, reused_tokens=self._body.reused[rows.owner])
                self._draw(group, rows.states[-1:].expand(len(group), -1))
        self._spend(self._joining, started)
        self._joining = []
        self._retire()

    def _fitting(self) -> Iterator[list[Row]]:
        """Take from the waiting samples, in their order, as many as there is room for; one request always fits."""
        rows, reach = len(self._rows), max((row.reach for row in self._rows), default=0)
        while self._waiting and rows < self.batch_size:
            group = self._waiting[0]
            rows, reach = rows + len(group), max(reach, group[0].reach)
            if rows > len(group) and rows * reach > self.row_tokens:
                return
            yield self._waiting.popleft()

    def _step(self) -> None:
        """One more token for every row."""
        started, rows = time.perf_counter(), list(self._rows)
        self._draw(rows, self._forward([row.tokens[-1] for row in rows]))
        self._spend(rows, started)
        self._retire()

    def _forward(self, tokens: Sequence[int]) -> "Tensor":
        """Hidden states [rows, width] after one more token in each row of the cache."""
        import torch

        device, body = self.model.device, self.model.base_model
        self._cache.grow()
        places = torch.tensor(self._cache.lengths, device=device)
        visible = torch.arange(max(self._cache.lengths) + 1, device=device)[None] <= places[:, None]
        ids = torch.tensor(tokens, device=device)[:, None]
        with attention(body, NAME), torch.inference_mode():
            step = Step(self._cache, places, visible[:, None, None])
            output = body(input_ids=ids, position_ids=places[:, None], use_cache=False, rows=step)
        self._cache.lengths = [length + 1 for length in self._cache.lengths]
        return output.last_hidden_state[:, -1]

    def _check(self) -> None:
        """Run a short text as a prompt and three steps. Raises: DoesNotFit."""
        probe = self.tokenizer.encode(PROBE)
        prompt, rest = probe[:-3], probe[-3:]
        for found in self._body.hidden([Wanted(prompt, len(prompt) - 1, whole=True)]):
            for rows in found:
                self._cache.add(rows.path, 2)
        for n, token in enumerate(rest):
            check_fit(self.model, probe[: len(prompt) + n + 1], self._forward([token, token])[:1])
        self._restart()

    def _draw(self, rows: Sequence[Row], states: "Tensor") -> None:
        """The next token of each row, after its hidden state [rows, width]."""
        import torch

        with torch.inference_mode():
            logits = self.model.get_output_embeddings()(states)
            temperature, top_p = (
                torch.tensor([getattr(row.request, name) for row in rows], device=logits.device)
                for name in ("temperature", "top_p")
            )
            numbers = torch.stack([row.uniform[len(row.tokens)] for row in rows]).to(logits.device)
            for row, token in zip(rows, sampling.draw(logits, temperature, top_p, numbers).tolist(), strict=True):
                row.tokens.append(token)

    @staticmethod
    def _spend(rows: Sequence[Row], started: float) -> None:
        for row in rows:
            row.usage += Usage(seconds=(time.perf_counter() - started) / len(rows))

    def _retire(self) -> None:
        for place in reversed(range(len(self._rows))):
            if self._has_ended(self._rows[place]):
                self._ended.append(self._rows[place])
                self._cache.remove(place)
                self._rows[place] = self._rows[-1]
                self._rows.pop()

    def _has_ended(self, row: Row) -> bool:
        if row.tokens[-1] in self._ends or len(row.tokens) == row.request.max_tokens:
            return True
        return bool(row.request.stop) and self._stop_at(row, self._text(row.tokens[-STOP_WINDOW:])) is not None

    def _stop_at(self, row: Row, text: str) -> int | None:
        return min((at for stop in row.request.stop if (at := text.find(stop)) >= 0), default=None)

    def _text(self, tokens: Sequence[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True)

    def _response(self, row: Row) -> Response:
        tokens = row.tokens[:-1] if row.tokens[-1] in self._ends else row.tokens
        text = self._text(tokens)
        cut = self._stop_at(row, text)
        finish: FinishReason = "length" if len(tokens) == row.request.max_tokens and cut is None else "stop"
        return Response(text=text[:cut], finish_reason=finish, usage=row.usage + Usage(generated_tokens=len(tokens)))
