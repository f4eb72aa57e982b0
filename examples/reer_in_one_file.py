"""REER in one file: find the thinking behind an answer that is already there (arXiv 2509.06160).

    python examples/reer_in_one_file.py MODEL [--pairs FILE] [--seed N]

Where an answer can be checked, a model can learn to think by trial and error. A story cannot be checked, but good ones
exist. So work backwards: given a query x and a good answer y, look for the thinking z that makes y least surprising,

    z* = argmin over z of NLL(y | x, z)        mean negative log-likelihood, in nats per token of y

z is text, so there is no gradient to follow. Draw a first z, then try to rewrite one segment after the other, and keep
a rewrite only if it lowers the NLL. A model that is trained on many (x, z*, y) thinks before it writes.
"""

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# Kahlil Gibran, "The Wise King" (1918, public domain in the US), shortened; the query was made for it.
QUERY = """Write a short, solemn parable about a wise king whose whole city drinks from a bewitched well, and what he \
must do when only he and his chamberlain have not drunk. Let the irony fall in the last sentence."""
ANSWER = """Once there ruled in the distant city of Wirani a king who was both mighty and wise.\n\nNow, in the heart \
of that city was a well, whose water was cool and crystalline, from which all the inhabitants drank, for there was \
no other well.\n\nOne night when all were asleep, a witch entered the city, and poured seven drops of strange liquid \
into the well, and said, “From this hour he who drinks this water shall become mad.”\n\nNext morning all the \
inhabitants, save the king and his lord chamberlain, drank from the well and became mad.\n\nAnd during that day the \
people did naught but whisper to one another, “The king is mad. We must dethrone him.”\n\nThat evening the king \
ordered a golden goblet to be filled from the well. And when it was brought to him he drank deeply, and gave it to \
his lord chamberlain to drink.\n\nAnd there was great rejoicing in that distant city of Wirani, because its king and \
its lord chamberlain had regained their reason."""

# For the first z and for rewrites. A small model cannot plan a story, but it can retell a few lines: it is shown one
# passage of y, and its reply is begun for it as a step of a plan. (The paper's large models see all of x, y and z.)
REQUEST = "{passage}\n\nRetell it in one short sentence, with the names."
PLAN = ("My story begins when", "Then I make it happen that", "Because of that I let", "And in the end I tell how")
DRAWS = 4
Step = tuple[str, str]  # a passage of y, and the beginning of the sentence about it: one segment of z


def sentences(text: str) -> list[str]:
    """What is said inside quotation marks ends no sentence, unless the quotation ends with it."""
    found = re.findall(r"""(?:“[^”]*”|"[^"]*"|.)+?(?:(?<=[.!?])\s+|(?<=[.!?][”"])\s+|\Z)""", text, re.DOTALL)
    return [sentence.strip() for sentence in found]


def steps_to(answer: str) -> list[Step]:
    found = sentences(answer)
    plan = PLAN[: len(found)]
    cuts = [len(found) * n // len(plan) for n in range(len(plan) + 1)]
    return [(" ".join(found[a:b]), opener) for a, b, opener in zip(cuts, cuts[1:], plan, strict=False)]


def is_allowed(thinking: str, answer: str) -> bool:
    """A z that recites y explains nothing: never 9 words in a row, nor a tenth of y's trigrams. And no tags."""

    def ngrams(text: str, n: int) -> set[tuple[str, ...]]:
        words = re.findall(r"\w+", text.lower())
        return set(zip(*(words[start:] for start in range(n)), strict=False))

    shared = [ngrams(thinking, n) & ngrams(answer, n) for n in (3, 9)]
    return len(shared[0]) <= 0.1 * len(ngrams(answer, 3)) and not shared[1] and "think>" not in thinking


class Model:
    """One model in two roles: it proposes thinking, and it tells how surprising y is after it."""

    def __init__(self, path: str) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.network = AutoModelForCausalLM.from_pretrained(path, dtype="auto").to(device).eval()

    def ids(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def turn(self, user: str) -> list[int]:
        message = {"role": "user", "content": user}
        text = self.tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        return self.ids(re.sub(r"<think>\s*$", "", text))  # some templates open the think block themselves

    @torch.inference_mode()
    def nll(self, query: str, thinking: str | None, answer: str) -> float:
        """In nats per token of y. y is tokenised on its own, so that every z is measured on the same tokens."""
        before, own = self.turn(query), self.ids(answer)
        if thinking is not None:
            before += self.ids("<think>\n") + self.ids(thinking) + self.ids("\n</think>\n\n")
        ids = torch.tensor([before + own], device=self.network.device)
        logits = self.network(ids, logits_to_keep=len(own) + 1).logits[0, :-1]  # row n predicts token n of y
        return torch.nn.functional.cross_entropy(logits.float(), ids[0, len(before) :]).item()

    @torch.inference_mode()
    def draw(self, passage: str, opener: str) -> list[str]:
        prompt = self.turn(REQUEST.format(passage=passage)) + self.ids(opener)
        ids = torch.tensor([prompt] * DRAWS, device=self.network.device)
        pad = self.tokenizer.eos_token_id
        sampling = {"do_sample": True, "temperature": 0.4, "top_p": 0.95, "max_new_tokens": 48}
        replies = self.network.generate(ids, attention_mask=torch.ones_like(ids), pad_token_id=pad, **sampling)
        texts = self.tokenizer.batch_decode(replies[:, len(prompt) :], skip_special_tokens=True)
        return [sentences(opener + text.split("\n")[0])[0] for text in texts]


def proposals(model: Model, step: Step, before: list[str], after: list[str], answer: str) -> list[list[str]]:
    """Whole z, as segments, that differ in one of them."""
    drawn = [[*before, text, *after] for text in model.draw(*step)]
    return [segments for segments in drawn if is_allowed(" ".join(segments), answer)]


def search(model: Model, query: str, answer: str) -> Iterator[tuple[str | None, float]]:
    """Every thinking that is kept, with its NLL: none, the first, and each that is better than the one before it."""
    nll = model.nll(query, None, answer)
    print(f"{nll:.3f}  without thinking (nats per answer token)")
    yield None, nll

    steps: list[Step] = []
    segments: list[str] = []
    for step in steps_to(answer):
        if allowed := proposals(model, step, segments, [], answer):
            steps, segments = [*steps, step], allowed[0]
    if not segments:
        raise SystemExit("Every draw recites the answer; try another --seed.")
    nll = model.nll(query, " ".join(segments), answer)
    print(f"{nll:.3f}  with the first thinking:", *segments, sep="\n       ")
    yield " ".join(segments), nll

    for place, step in enumerate(steps):
        drawn = proposals(model, step, segments[:place], segments[place + 1 :], answer)
        scored = [(model.nll(query, " ".join(candidate), answer), candidate) for candidate in drawn]
        best, candidate = min([(nll, segments), *scored])
        print(f"\nSegment {place + 1}: {len(drawn)} of {DRAWS} rewrites allowed:", *(f"{x:.3f}" for x, _ in scored))
        print(f"{best:.3f}  {'kept:' if best < nll else 'none is better:'} {candidate[place]}")
        if best < nll:
            nll, segments = best, candidate
            yield " ".join(segments), nll


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="folder or hub id of a causal language model with a chat template")
    parser.add_argument("--pairs", type=Path, help="JSON Lines with query and answer, of which the first is taken")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    pair = {"query": QUERY, "answer": ANSWER}
    if arguments.pairs:
        pair = json.loads(arguments.pairs.read_text(encoding="utf-8").splitlines()[0])
    torch.manual_seed(arguments.seed)
    *_, (thinking, nll) = search(Model(arguments.model), pair["query"], pair["answer"])
    print(f"\n{nll:.3f}  with the final thinking:\n{thinking}")
