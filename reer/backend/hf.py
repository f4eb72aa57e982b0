"""transformers in this process: batched generation with a seed per sample, and exact scoring of answer spans.

Requests of many examples are collected into batches. Knows token ids and models; what the ids mean is the
layout's business. Imports torch only when a model is loaded.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from reer.backend import sampling
from reer.backend.batching import WORKER, Batcher
from reer.backend.models import ends, load_model, load_tokenizer, prompt_ids
from reer.backend.packed.forward import common
from reer.backend.tokens.chat import ChatTokenizer
from reer.config import HFBackendConfig
from reer.errors import BackendError
from reer.types import FinishReason, GenerateRequest, Response, Scored, ScoreRequest, Usage, score_of

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import DynamicCache, PreTrainedModel

LOGIT_ROWS = 512
"""Rows turned into float32 log-probabilities at once. (The model itself still makes all rows of the answer.)"""


class HFGenerator:
    """Draws samples; the draw of a sample depends on its seed alone, never on its neighbours in the batch.

    (Its text may still differ in the last bit of a logit where padding changes the order of a sum.)
    """

    def __init__(
        self, model: "PreTrainedModel", tokenizer: ChatTokenizer, *, max_length: int, batch_size: int = 32
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.max_length = max_length
        self._ends = ends(tokenizer, model.generation_config)
        self._batcher: Batcher[GenerateRequest, list[Response]] = Batcher(self._generate)

    @classmethod
    def load(cls, config: HFBackendConfig) -> "HFGenerator":
        """Raises: ModelError: it cannot be loaded."""
        model, tokenizer = load_model(config.model), load_tokenizer(config.model)
        return cls(model, tokenizer, max_length=config.model.max_length, batch_size=config.batch_size)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response]]:
        """See `types.Generator`."""
        return await self._batcher.submit(requests)

    def _generate(self, requests: Sequence[GenerateRequest]) -> list[list[Response] | Exception]:
        results: list[list[Response] | Exception] = [BackendError("not run")] * len(requests)
        prompts = [prompt_ids(self.tokenizer, request) for request in requests]
        for batch in self._batches(requests, prompts):
            fitting = []
            for index in batch:
                if len(prompts[index]) + requests[index].max_tokens > self.max_length:
                    results[index] = BackendError(f"prompt of {len(prompts[index])} tokens leaves no room to generate")
                else:
                    fitting.append(index)
            if fitting:
                done = self._generate_batch([requests[i] for i in fitting], [prompts[i] for i in fitting])
                for index, responses in zip(fitting, done, strict=True):
                    results[index] = responses
        return results

    def _batches(self, requests: Sequence[GenerateRequest], prompts: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
        """Requests with the same sampling settings and similar lengths together, up to `batch_size` samples."""

        def settings(index: int) -> tuple[Any, ...]:
            request = requests[index]
            return (request.temperature, request.top_p, request.max_tokens, request.stop)

        order = sorted(range(len(requests)), key=lambda i: (settings(i), len(prompts[i])))
        for _, group in groupby(order, key=settings):
            batch: list[int] = []
            for index in group:
                rows = sum(len(requests[i].seeds) for i in batch)
                if batch and rows + len(requests[index].seeds) > self.batch_size:
                    yield batch
                    batch = []
                batch.append(index)
            yield batch

    def _generate_batch(
        self, requests: Sequence[GenerateRequest], prompts: Sequence[tuple[int, ...]]
    ) -> list[list[Response]]:
        """One call of `generate`: each prompt is run once, its keys and values serve all its samples."""
        import torch

        started, first = time.perf_counter(), requests[0]
        width = max(map(len, prompts))
        pad = self.tokenizer.end_of_turn
        ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.model.device)
        repeats = torch.tensor([len(request.seeds) for request in requests], device=self.model.device)
        with torch.inference_mode():
            cache = self._prefill(ids[:, :-1], mask[:, :-1], repeats) if width > 1 else None
            output = self.model.generate(
                ids.repeat_interleave(repeats, dim=0),
                attention_mask=mask.repeat_interleave(repeats, dim=0),
                past_key_values=cache,
                max_new_tokens=first.max_tokens,
                do_sample=False,
                logits_processor=[
                    Sampler(
                        [seed for request in requests for seed in request.seeds],
                        temperature=first.temperature,
                        top_p=first.top_p,
                        max_tokens=first.max_tokens,
                    )
                ],
                eos_token_id=self._ends,
                pad_token_id=pad,
                stop_strings=list(first.stop) or None,
                tokenizer=self.tokenizer.hf if first.stop else None,
            )
        rows = iter(output[:, width:].tolist())
        seconds = (time.perf_counter() - started) / len(output)
        return [
            [
                self._response(next(rows), request, len(prompt) if n == 0 else 0, seconds)
                for n in range(len(request.seeds))
            ]
            for request, prompt in zip(requests, prompts, strict=True)
        ]

    def _prefill(self, ids: "Tensor", mask: "Tensor", repeats: "Tensor") -> "DynamicCache":
        import torch
        from transformers import DynamicCache

        cache = DynamicCache(config=self.model.config)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        self.model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1)
        cache.batch_select_indices(torch.arange(len(repeats), device=ids.device).repeat_interleave(repeats))
        return cache

    def _response(self, ids: list[int], request: GenerateRequest, prefilled: int, seconds: float) -> Response:
        length = next((n for n, token in enumerate(ids) if token in self._ends), len(ids))
        text = self.tokenizer.decode(ids[:length], skip_special_tokens=True)
        cut = min((at for stop in request.stop if (at := text.find(stop)) >= 0), default=None)
        finish: FinishReason = "length" if length == request.max_tokens and cut is None else "stop"
        usage = Usage(calls=int(prefilled > 0), generated_tokens=length, prefilled_tokens=prefilled, seconds=seconds)
        return Response(text=text[:cut], finish_reason=finish, usage=usage)


class Sampler:
    """Sampling with one random stream per row, as a logits processor in front of an arg-max."""

    def __init__(self, seeds: Sequence[int], *, temperature: float, top_p: float, max_tokens: int) -> None:
        import torch

        self.uniform = sampling.uniform(seeds, max_tokens)
        self.temperature = torch.full([len(seeds)], temperature)
        self.top_p = torch.full([len(seeds)], top_p)
        self.step = 0

    def __call__(self, input_ids: "Tensor", scores: "Tensor") -> "Tensor":
        """Scores [rows, vocabulary] with all but the drawn tokens at minus infinity."""
        import torch

        numbers = self.uniform[:, self.step]
        self.step += 1
        settings = (part.to(scores.device) for part in (self.temperature, self.top_p, numbers))
        drawn = sampling.draw(scores, *settings)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn[:, None], 0.0)


@dataclass(slots=True)
class _Prefix:
    """Keys and values of token ids already run, cut back to what the next sequence shares."""

    ids: tuple[int, ...]
    cache: "DynamicCache"


class HFScorer:
    """Exact mean NLL of given ids, one plain forward per request.

    Logits are computed for the answer's rows only, and consecutive requests that begin alike run their common
    beginning once.
    """

    def __init__(self, config: HFBackendConfig, worker: ThreadPoolExecutor = WORKER) -> None:
        self.tokenizer = load_tokenizer(config.model)
        self.model = load_model(config.model)
        self.max_length = config.model.max_length
        self._scores: Batcher[ScoreRequest, Scored] = Batcher(
            lambda requests: self._in_order(requests, self._score), worker
        )
        self._choices: Batcher[tuple[tuple[int, ...], tuple[int, ...]], tuple[float, ...]] = Batcher(
            lambda requests: self._in_order(requests, self._choose), worker
        )

    async def score(self, requests: Sequence[ScoreRequest]) -> list[Scored]:
        """See `types.Scorer`."""
        return await self._scores.submit(requests)

    async def next_token(self, prompts: Sequence[tuple[int, ...]], options: Sequence[int]) -> list[tuple[float, ...]]:
        """See `types.Scorer`."""
        return await self._choices.submit([(prompt, tuple(options)) for prompt in prompts])

    def _in_order(self, requests: Sequence[Any], run: Any) -> list[Any]:
        """Run the requests sorted by their ids, so that those which begin alike are neighbours."""
        import torch

        results: list[Any] = [None] * len(requests)
        prefix = None
        order = sorted(range(len(requests)), key=lambda i: _ids(requests[i]))
        with torch.inference_mode():
            for position, index in enumerate(order):
                following = _ids(requests[order[position + 1]]) if position + 1 < len(order) else ()
                results[index], prefix = run(requests[index], prefix, following)
        return results

    def _score(
        self, request: ScoreRequest, prefix: _Prefix | None, following: tuple[int, ...]
    ) -> tuple[Scored | Exception, _Prefix | None]:
        import torch

        if request.end > self.max_length:
            return BackendError(f"{request.end} tokens exceed model.max_length={self.max_length}"), prefix
        started = time.perf_counter()
        ids = request.ids[: request.end]
        keep = request.end - request.start + 1
        logits, reused, prefix = self._forward(ids, keep, prefix, following)
        targets = torch.tensor(ids[request.start :], device=logits.device)
        chunks = zip(logits[:-1].split(LOGIT_ROWS), targets.split(LOGIT_ROWS), strict=True)
        nlls = torch.cat(
            [torch.nn.functional.cross_entropy(rows.float(), wanted, reduction="none") for rows, wanted in chunks]
        )
        seconds = time.perf_counter() - started
        usage = Usage(calls=1, scored_tokens=len(ids) - reused, reused_tokens=reused, seconds=seconds)
        return scored(nlls, request, usage), prefix

    def _choose(
        self, request: tuple[tuple[int, ...], tuple[int, ...]], prefix: _Prefix | None, following: tuple[int, ...]
    ) -> tuple[tuple[float, ...] | Exception, _Prefix | None]:
        ids, options = request
        if len(ids) > self.max_length:
            return BackendError(f"{len(ids)} tokens exceed model.max_length={self.max_length}"), prefix
        logits, _, prefix = self._forward(ids, 1, prefix, following)
        logprobs = logits[-1].float().log_softmax(-1)[list(options)]
        if not logprobs.isfinite().all():
            return BackendError("the model gave no finite log-probability"), prefix
        return tuple(logprobs.tolist()), prefix

    def _forward(
        self, ids: tuple[int, ...], keep: int, prefix: _Prefix | None, following: tuple[int, ...]
    ) -> tuple["Tensor", int, _Prefix | None]:
        """Logits [keep, vocabulary] of the last `keep` positions, tokens reused, and the prefix for the next call."""
        import torch

        reused = min(common(prefix.ids, ids), len(ids) - keep) if prefix else 0
        cache = prefix.cache if prefix and reused else self._new_cache()
        if prefix and reused and reused < len(prefix.ids):
            cache.crop(reused - len(prefix.ids))  # a negative number removes so many
        shared = common(ids, following)
        inputs = torch.tensor([ids[reused:]], device=self.model.device)
        use_cache = bool(reused or shared)
        output = self.model(
            input_ids=inputs,
            past_key_values=cache if use_cache else None,
            use_cache=use_cache,
            logits_to_keep=keep,
        )
        return output.logits[0], reused, _Prefix(ids, cache) if shared else None

    def _new_cache(self) -> "DynamicCache":
        """Of full length in every layer where the model slides a window: a cache that forgets cannot be cut back. What
        a layer may see is the mask's business."""
        from transformers import DynamicCache

        slides = getattr(self.model.config.get_text_config(), "sliding_window", None)
        return DynamicCache() if slides else DynamicCache(config=self.model.config)


def scored(nlls: "Tensor", request: ScoreRequest, usage: Usage) -> Scored | BackendError:
    """The score of a span from the NLL of each of its tokens [tokens], in nats; the error where one is no number."""
    if not nlls.isfinite().all():
        return BackendError("the model gave no finite log-probability")
    return Scored(score_of(nlls.tolist(), request), usage)


def _ids(request: Any) -> tuple[int, ...]:
    return request.ids[: request.end] if isinstance(request, ScoreRequest) else request[0]
