"""The scorer of `backend=hf`: exact mean NLL of given ids, many requests in one forward, nothing computed twice.

Requests that wait together are sorted and packed (`forward.py`): what they share with each other, and with what was
kept from earlier steps of the same examples, is not run again; the output layer sees the answer's rows alone, in
chunks. Checked against a plain forward when it is built. Knows token ids and models; what the ids mean is the
layout's business.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reer.backend.batching import WORKER, Batcher
from reer.backend.hf import scored
from reer.backend.models import load_model, load_tokenizer
from reer.backend.packed.attention import PROBE, check_fit
from reer.backend.packed.forward import PackedForward, Wanted
from reer.config import HFBackendConfig
from reer.errors import BackendError, Unanswered
from reer.types import Scored, ScoreRequest, Tokenizer, Usage

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)

ROWS = {"cpu": 128, "cuda": 512}
"""Rows of logits held at once: a CPU is fastest while they fit its caches, a GPU with large products."""
SMALLEST_BUDGET = 256


@dataclass(frozen=True, slots=True)
class ChoiceRequest:
    """Log-probabilities of each of some tokens after a prompt."""

    ids: tuple[int, ...]
    options: tuple[int, ...]


Request = ScoreRequest | ChoiceRequest


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the model sees it: after position `first + n` of `ids`, how likely are `tokens[n]`?

    What follows the last position asked about cannot change its score and is left out.
    """

    ids: tuple[int, ...]
    first: int
    tokens: tuple[tuple[int, ...], ...]
    size: int
    """Tokens of the request, the last one included."""

    @classmethod
    def of(cls, request: Request) -> "Asked":
        if isinstance(request, ChoiceRequest):
            return cls(request.ids, len(request.ids) - 1, (request.options,), len(request.ids))
        targets = request.ids[request.start : request.end]
        return cls(
            request.ids[: request.end - 1], request.start - 1, tuple((token,) for token in targets), request.end
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """Log-probabilities [rows, n] of what was asked."""

    owner: int
    logprobs: "Tensor"
    usage: Usage


class PackedScorer:
    """Scores by packed forwards."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: Tokenizer,
        *,
        max_length: int,
        token_budget: int = 2048,
        kept_tokens: int = 16384,
        worker: ThreadPoolExecutor = WORKER,
    ) -> None:
        """`token_budget` and `kept_tokens`: see `config.HFBackendConfig`.

        Raises:
            DoesNotFit: the model's attention is not what packing knows.
        """
        self.model = model
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._body = PackedForward(model, token_budget, kept_tokens)
        self._requests: Batcher[Request, Any] = Batcher(self._results, worker)
        self._check()

    @classmethod
    def load(cls, config: HFBackendConfig, worker: ThreadPoolExecutor = WORKER) -> "PackedScorer":
        """Raises: ModelError: it cannot be loaded; DoesNotFit: packing does not know its attention."""
        return cls(
            load_model(config.model),
            load_tokenizer(config.model),
            max_length=config.model.max_length,
            token_budget=config.token_budget,
            kept_tokens=config.kept_tokens,
            worker=worker,
        )

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """See `types.Scorer`."""
        return await self._requests.submit(requests)

    async def next_token(self, prompts: Sequence[tuple[int, ...]], options: Sequence[int]) -> list[tuple[float, ...]]:
        """See `types.Scorer`."""
        return await self._requests.submit([ChoiceRequest(prompt, tuple(options)) for prompt in prompts])

    def _results(self, requests: Sequence[Request]) -> list[Any]:
        """Each request's result, or the exception it deserves; equal requests are run once."""
        found: dict[Request, Any] = {}
        for request in requests:
            if len(request.ids) > self.max_length:
                found[request] = BackendError(f"{len(request.ids)} tokens exceed model.max_length={self.max_length}")
        while todo := sorted(set(requests) - found.keys(), key=lambda request: request.ids):
            found |= self._run(todo)
        return [found[request] for request in requests]

    def _run(self, requests: Sequence[Request]) -> dict[Request, Any]:
        """Results of all requests, or of those that were done when the memory ran out."""
        import torch

        found: dict[Request, Any] = {}
        try:
            for answer in self._answers([Asked.of(request) for request in requests]):
                found[requests[answer.owner]] = _result(requests[answer.owner], answer)
        except torch.OutOfMemoryError as error:
            self._body.kept.clear()
            torch.cuda.empty_cache()
            if self._body.budget > SMALLEST_BUDGET:
                self._body.budget = max(SMALLEST_BUDGET, self._body.budget // 2)
                log.warning("out of memory: the scorer goes on with %s tokens per forward", self._body.budget)
            elif not found:
                return self._one_by_one(requests, error)
        except Exception:
            self._body.kept.clear()  # among them are some whose keys and values were not computed
            raise
        return found

    def _one_by_one(self, requests: Sequence[Request], error: Exception) -> dict[Request, Any]:
        """After the smallest forward ran out of memory: one that does not fit fails alone."""
        if len(requests) > 1:
            return {request: result for one in requests for request, result in self._run([one]).items()}
        return {requests[0]: Unanswered(f"out of memory: {error}", alone=True)}

    def _answers(self, asked: Sequence[Asked]) -> Iterator[Answered]:
        """Answers in the order of their last rows. The time of a forward is shared among its rows."""
        import torch

        parts: dict[int, list[Tensor]] = {}
        seconds: defaultdict[int, float] = defaultdict(float)
        started = time.perf_counter()
        for rows in self._body.hidden([Wanted(a.ids, a.first) for a in asked]):
            if not rows:
                continue  # what stands before an answer: its time goes to the next forward with rows
            for row in rows:
                begin = row.first - asked[row.owner].first
                tokens = asked[row.owner].tokens[begin : begin + len(row.states)]
                parts.setdefault(row.owner, []).append(self._logprobs(row.states, tokens))
            spent, started = time.perf_counter() - started, time.perf_counter()
            for row in rows:
                seconds[row.owner] += spent * len(row.states) / sum(len(r.states) for r in rows)
                if row.first + len(row.states) == len(asked[row.owner].ids):
                    reused = self._body.reused[row.owner]
                    new = asked[row.owner].size - reused
                    usage = Usage(calls=1, scored_tokens=new, reused_tokens=reused, seconds=seconds[row.owner])
                    yield Answered(row.owner, torch.cat(parts.pop(row.owner)), usage)

    def _logprobs(self, states: "Tensor", tokens: Sequence[Sequence[int]]) -> "Tensor":
        """[rows, n]: of n tokens after each of the hidden states [rows, width]. The logits are made in chunks."""
        import torch

        head = self.model.get_output_embeddings()
        wanted = torch.tensor(tokens, device=states.device)
        rows = ROWS.get(states.device.type, ROWS["cuda"])
        parts = []
        with torch.inference_mode():
            for some, targets in zip(states.split(rows), wanted.split(rows), strict=True):
                logits = head(some).float()
                parts.append(logits.gather(1, targets) - logits.logsumexp(-1, keepdim=True))
        return torch.cat(parts)

    def _check(self) -> None:
        """Run two short sequences that share a beginning. Raises: DoesNotFit."""
        probe = self.tokenizer.encode(PROBE)
        half = len(probe) // 2
        sequences = [probe, probe[:half] * 2]
        for found in self._body.hidden([Wanted(ids, half) for ids in sequences]):
            for rows in found:
                check_fit(self.model, sequences[rows.owner], rows.states)
        self._body.kept.clear()


def _result(request: Request, answer: Answered) -> Any:
    """What the caller gets, or the exception it deserves."""
    if isinstance(request, ScoreRequest):
        return scored(-answer.logprobs[:, 0], request, answer.usage)
    if not answer.logprobs.isfinite().all():
        return BackendError("the model gave no finite log-probability")
    return tuple(answer.logprobs[0].tolist())
