"""The leak guard against copies of the answer, and for plans that share its names and key words with it.

Planted rewrites hold 30 to 100 % of the answer or all of it with some words changed; the honest ones were written by
hand after reading the answers, as a writer plans.
"""

import asyncio
import random
import re
import unicodedata

import pytest

from reer.backend.fake import FakeScorer
from reer.config import FakeBackendConfig, HFBackendConfig, LeakConfig, ModelConfig, SearchConfig, SegmentConfig
from reer.errors import ExampleError
from reer.files.pairs import read_pairs
from reer.layout import Layout
from reer.method import segment
from reer.method.guards import leak
from reer.method.prompts import Prompt, PromptSet
from reer.method.propose import Proposer
from reer.method.search import Search
from reer.method.state import State
from reer.text import words
from reer.types import Response

PAIRS = {example.id: example for example in read_pairs(None).examples}
SHORT = ("p0010", "p0040", "p0037", "p0005")
"""Answers under four times the length of their plans: a rewrite may not grow beyond that."""
PLANS = {
    "p0010": "I want the flat voice of a school reader: James is good, James is kind, and every sentence says so. He "
    "should take a lady by the hand when some rude boys tease her, and scold them with his grandma in mind. "
    "Then the joke is hers: she turns on him, calls him a rapscallion, and tells him she is only twenty- "
    "nine.",
    "p0040": "I will set this in a far city, Wirani, and give it one well and one king, mighty and wise. A witch "
    "comes at night with seven drops. The king and his lord chamberlain stay sane and so look mad to "
    "everybody else; I want the crowd to whisper it in the streets. He drinks from a golden goblet, and the "
    "last line calls it a recovery.",
    "p0037": "Love laughs at Death first, and I should let Death brood like a schoolboy before he decides to "
    "frighten Odysseus at Ithaca. The hero is old, white-haired, busy warming his hands at the fire; he "
    "simply does not notice the shout. When he does turn he speaks as to an old servant, about Ilion, and "
    "they leave arm in arm. The joke is how little it takes to put the god back in his place.",
    "p0005": "The Post man sees somebody poorly clad on an empty box in the drizzling rain and takes him for a "
    "tramp. Let me keep the dialogue clipped: lodging, a question about the three-story buildings, then the "
    "surprise that he owns them. The walls are bulging, so the advice is to raise the rent for the extra "
    "space. I close on a dry line about a capitalist.",
    "p0033": "A workman falls with his scaffolding from a hotel, and as he falls he scratches at his name with a "
    "knife. I would have the narrator tut over the folly of it: three seconds to live, and the pole is "
    "firewood anyway. Then the ghost visits at night, laughing, in a Cockney voice, and turns the same "
    "argument on serious work and on civilization.",
    "p0038": "Two hermits, one mountain, one earthen bowl. I want scripture in the sound of it, thou and thine, and "
    "an evil spirit to explain why the older one asks to divide. The younger keeps giving way: take it, "
    "cast a lot, break it. That should make the older furious, so the end is him calling his brother a "
    "coward.",
    "p0064": "Bahia, in February: I start with the date and then distrust the word delight because it is too weak. "
    "Grasses, parasitical plants, glossy foliage come one after the other, and then the paradox, the "
    "insects loud and the forest silent. A tropical storm catches me under a tree that would stop English "
    "rain; I use the violence of it to explain the verdure.",
    "p0026": "Maman-Nainaine has said Babette may go to Bayou-Lafourche when the figs ripen, and I want the waiting "
    "to be the whole story. The girl dances out to the fig-trees every day; the godmother is patient like a "
    "statue. At breakfast there should be a porcelain platter with purple figs, one finds it early and one "
    "finds it late, and the chrysanthemums at Toussaint give the next date.",
    "p0032": "The North Wind boasts and the fog says nothing, so the wind gets all the talk at first: ships, rocks, "
    "bergs, mourning inland. Then at night the fog mumbles its own list, galleons, an argosy from Tyre, "
    "triremes, yachts, admirals. I only listen, and at the end I run.",
    "p0028": "Boulôt and Boulotte are twelve and barefoot, and Natchitoches is where they will buy shoes with their "
    "picayunes. I think the waiting family belongs in the middle: Seraphine with the baby Seraphin, all in "
    "a row before the cabin. They come home with the shoes in their hands. He is ashamed, she is scornful: "
    "why ruin them in the dust?",
    "p0075": "I address the Gentle Reader and name the problem at once, the color line in the twentieth century. "
    "After that the chapters one by one: Emancipation and its aftermath, a leader criticized, two worlds, "
    "the Veil, the peasantry, religion, sorrow, a tale and song. I thank The Atlantic Monthly and the other "
    "publishers, explain the bars of the Sorrow Songs, and say at last that I too live within the Veil.",
    "p0061": "Start from the bare rule that all organic beings increase at a high rate, then draw the struggle out "
    "of it. Malthus has to come in, for there is no prudential restraint among plants. Linnaeus and his "
    "annual plant give me a million after twenty years; the elephant is the slowest breeder, so I will do "
    "that sum aloud, thirty to ninety years, six young, nineteen million at the end.",
    "p0077": "The publisher says of a man that he believes in himself, and at that moment I should see Hanwell on an "
    "omnibus. From there I push: Napoleon and Caesar are modest beside the men in lunatic asylums. He "
    "objects mildly, I retort with the drunken poet, the minister with his epic, Joanna Southcote. His last "
    "question is a good one, and the book is my answer.",
    "p0011": "And it came to pass: I will begin nearly every paragraph like that. Reuben and Ruth are sweethearts "
    "and each hires the man with the Cathode Ray behind the other's back. On the slips they read the two "
    "names and go off happy. Only I know which head held which name, so the moral is left to the "
    "proprietor.",
    "p0065": "Valdivia, February 20th, and I am lying in the wood when it comes. I describe the motion as a body "
    "feels it: giddy, a vessel in a cross-ripple, skating on thin ice. Then one reflection about the crust "
    "beneath our feet. After that Captain Fitz Roy's report of the town and the old woman's report of the "
    "tides, for what I could not see myself.",
    "p0039": "Seven selves of a madman whisper while he sleeps, and I give each a speech headed by its number. Pain, "
    "joy, love, hatred, thinking, work: every one of them says it would rebel. The Seventh Self envies them "
    "because it has nothing to do. The others grow quiet and sleep; he stays awake and stares at "
    "nothingness.",
    "p0051": "Pineapple, and no tin-opener. I want Harris and George to try a pocketknife and scissors, and me the "
    "hitcher, and each of us to be hurt in turn. Then we go for a stone and the mast, and George's straw "
    "hat saves him. We beat it into every shape until the dent grins at us; Harris throws it in the river "
    "and we row to Maidenhead.",
    "p0062": "I go step by step along the chain: heartsease and red clover need humblebees, humblebees suffer from "
    "field-mice, mice from cats. I shall count seeds, twenty heads of Dutch clover against twenty protected "
    "ones, so that it is an experiment and not a fancy. Colonel Newman can vouch for the nests near "
    "villages. The conclusion should sound absurd and be sober: cats decide about flowers.",
    "p0029": "Old Cléophas plays his fiddle when the children are hungry, and Fifine stamps her foot at it. She "
    "carries it to the plantation in its flannel bag, where gentlemen with odd hair take it very seriously. "
    "A better fiddle and a roll of money: shingles, shoes, Blanchette and her calf. But I end with him "
    "saying that it is not the same.",
    "p0066": "I describe the tortoise first by size, six or eight men to lift one, and by food: cactus on the dry "
    "islands, leaves, berries and lichen on the damp ones. Its thirst is the centre, so I follow the broad "
    "paths to the springs at Chatham Island and watch it swallow mouthfuls with its head under. The "
    "inhabitants drink from the bladder when they must, and I will report that with a straight face.",
}
PROMPTS = PromptSet(
    Prompt("initial {query} {answer}", (), None),
    Prompt("rewrite {query} {answer} {before} {segment} {after}", (), None),
    "",
)


def run_of(share):
    """One piece from the middle of the text."""

    def copy(text):
        words = text.split()
        size = round(share * len(words))
        start = (len(words) - size) // 2
        return " ".join(words[start : start + size])

    return copy


def sentences_of(share):
    """Sentences from all over the text, in their order, until the share is reached."""

    def copy(text):
        found = [sentence.strip() for sentence in segment.sentences(text)]
        kept, size = set(), 0
        for n in random.Random(0).sample(range(len(found)), len(found)):
            if size < share * len(text.split()):
                kept.add(n)
                size += len(found[n].split())
        return " ".join(found[n] for n in sorted(kept))

    return copy


def every(nth):
    """The whole text with every n-th word changed."""

    def copy(text):
        return " ".join("something" if n % nth == 0 else word for n, word in enumerate(text.split(), start=1))

    return copy


def reversed_sentences(text):
    return " ".join(sentence.strip() for sentence in reversed(segment.sentences(text)))


def retyped(text):
    """Other punctuation, capitals, quotation marks and accents: the same words."""
    plain = unicodedata.normalize("NFD", text.replace("’", "'")).upper()
    return re.sub(r"[,;:.!?“”]", " -", plain)


PLANTED = {
    "30 % in one run": run_of(0.3),
    "50 % in scattered sentences": sentences_of(0.5),
    "70 % in one run": run_of(0.7),
    "all of it": run_of(1.0),
    "every tenth word changed": every(10),
}
HARDER = {
    "30 % in scattered sentences": sentences_of(0.3),
    "every sixth word changed": every(6),
    "every fourth word changed": every(4),
    "retyped": retyped,
    "sentences reversed": reversed_sentences,
}


class Script:
    """The same first trajectory in every round, then the given rewrites."""

    def __init__(self, first, rewrites=()):
        self.first, self.rewrites = first, rewrites

    async def generate(self, requests):
        def texts(request):
            return [self.first] if request.messages[0].content.startswith("initial") else self.rewrites

        return [[Response(text=text, finish_reason="stop") for text in texts(request)] for request in requests]


def searching(script, scorer, **limits):
    """A search that visits one segment, which is the whole trajectory."""
    settings = SearchConfig(
        first_samples=1,
        candidates=max(1, len(script.rewrites)),
        max_steps=1,
        segment=SegmentConfig(max_tokens=100_000),
        **limits,
    )
    layout = Layout("think", scorer.tokenizer)
    return Search(Proposer(script, lambda _: PROMPTS, layout, settings, seed=0), scorer, layout, settings)


def run(search, example, recorded=()):
    async def collect():
        return [event async for event in search.run(example, recorded)]

    return asyncio.run(collect())


def attacked(scorer, example, copies, **limits):
    """What becomes of each copy, offered alone as the rewrite of an honest plan: the NLL before, and the step."""
    plan = PLANS[example.id]
    begun = run(searching(Script(plan, [plan]), scorer, **limits), example)[:2]
    steps = [run(searching(Script(plan, [copy]), scorer, **limits), example, begun)[0] for copy in copies]
    return begun[1].nll, steps


@pytest.fixture(scope="module")
def fake():
    """Its NLL falls with the share of the answer's words in the thinking: every copy pays."""
    return FakeScorer(FakeBackendConfig())


@pytest.mark.parametrize("example", SHORT)
def test_no_copy_is_accepted_by_default_and_every_one_with_the_guard_off(fake, example):
    copies = [copy(PAIRS[example].answer) for copy in (PLANTED | HARDER).values()]
    _, steps = attacked(fake, PAIRS[example], copies)
    assert [(step.kept, step.candidates[0].rejected) for step in steps] == [(None, "leak")] * len(copies)
    before, steps = attacked(fake, PAIRS[example], copies, leak=LeakConfig(enabled=False))
    assert [step.kept for step in steps] == [0] * len(copies)
    assert all(step.nll < before for step in steps)


@pytest.mark.parametrize("kind", PLANTED | HARDER)
def test_a_copy_of_any_packaged_answer_is_a_leak(kind):
    copy = (PLANTED | HARDER)[kind]
    found = {i: leak.measure(copy(e.answer), e.answer, LeakConfig().ngram) for i, e in PAIRS.items()}
    assert len(found) == 24
    assert [i for i, measured in found.items() if not leak.leaks(measured, LeakConfig())] == []


def test_a_copy_is_no_first_trajectory(fake):
    example = PAIRS["p0040"]
    with pytest.raises(ExampleError, match=r"no usable first trajectory in 3 draws \(leak\)"):
        run(searching(Script(run_of(0.3)(example.answer)), fake), example)


def test_a_copy_in_small_pieces_ends_where_the_whole_holds_too_much(fake):
    """Every step offers the next sentence of the answer: what counts is the whole trajectory, not the rewrite."""
    example = PAIRS["p0040"]

    class Thief:
        def __init__(self):
            self.pieces = segment.sentences(example.answer)

        async def generate(self, requests):
            first = requests[0].messages[0].content.startswith("initial")
            text = "\n\n".join(["I will plan it."] * 10) if first else self.pieces.pop(0).strip()
            return [[Response(text=text, finish_reason="stop")] for _ in requests]

    def stolen(**limits):
        settings = SearchConfig(first_samples=1, candidates=1, segment=SegmentConfig(min_tokens=5), **limits)
        layout = Layout("think", fake.tokenizer)
        search = Search(Proposer(Thief(), lambda _: PROMPTS, layout, settings, seed=0), fake, layout, settings)
        return State.of(run(search, example))

    guarded, free = stolen(), stolen(leak=LeakConfig(enabled=False))
    assert len(guarded.steps) == len(free.steps) == 10
    reasons = [step.candidates[0].rejected for step in guarded.steps]
    assert 1 <= reasons.count(None) <= 5  # what there is room for
    assert set(reasons) == {None, "leak"}
    assert not leak.leaks(leak.measure(guarded.trajectory.text, example.answer), LeakConfig())
    assert leak.measure(free.trajectory.text, example.answer).containment > 0.5


def test_honest_plans_that_share_names_and_key_words_pass():
    assert len(PLANS) == 20
    assert all(40 <= len(words(plan)) <= 80 for plan in PLANS.values())
    found = {i: leak.measure(plan, PAIRS[i].answer, LeakConfig().ngram) for i, plan in PLANS.items()}
    assert all(shared(plan, PAIRS[i].answer) >= 6 for i, plan in PLANS.items())
    assert sum(not leak.leaks(measured, LeakConfig()) for measured in found.values()) >= 19


def shared(plan, answer):
    """How many words of more than four letters both hold."""
    return len({word for word in words(plan) if len(word) > 4} & set(words(answer)))


@pytest.mark.parametrize(
    ("answer", "plan"),
    [
        (
            "崇祯五年十二月，余住西湖。大雪三日，湖中人鸟声俱绝。是日更定矣，余拏一小舟，拥毳衣炉火，独往湖心亭看雪。雾凇沆砀，天与云与山与水，"
            "上下一白。湖上影子，惟长堤一痕、湖心亭一点、与余舟一芥、舟中人两三粒而已。",
            "我打算从崇祯五年的年月和西湖的大雪写起，先让湖上什么声音都没有。然后我一个人坐小舟去湖心亭，带上炉火；写雪景时只用几个小字眼，"
            "一痕、一点、一芥，把人写得极小。",
        ),
        (
            "在我的后园，可以看见墙外有两株树，一株是枣树，还有一株也是枣树。这上面的夜的天空，奇怪而高，我生平没有见过这样的奇怪而高的天空。"
            "他仿佛要离开人间而去，使人们仰面不再看见。",
            "开头我想用重复来写后园的枣树，故意不一次说完，让读者先觉得奇怪。接着抬头写夜的天空，把它当作一个人，冷冷的，离人间很远。",
        ),
    ],
)
def test_in_chinese_characters_count(answer, plan):
    limits = LeakConfig()
    changed = "".join("某" if n % 10 == 0 else character for n, character in enumerate(answer, start=1))
    for copy in (answer[: round(0.3 * len(answer))], answer, changed):
        assert leak.leaks(leak.measure(copy, answer, limits.ngram), limits)
    assert not leak.leaks(leak.measure(plan, answer, limits.ngram), limits)


@pytest.mark.slow
@pytest.mark.parametrize("example", SHORT)
def test_what_a_real_model_gains_from_copies_is_accepted_with_the_guard_off(example, capsys):
    """SmolLM2 finds the answer likelier after most copies of it: without the guard they would win the search."""
    from reer.backend.hf import HFScorer

    scorer = HFScorer(HFBackendConfig(model=ModelConfig(path="smollm2", dtype="float32")))
    copies = {kind: copy(PAIRS[example].answer) for kind, copy in PLANTED.items()}
    before, steps = attacked(scorer, PAIRS[example], copies.values(), leak=LeakConfig(enabled=False))
    nlls = [step.candidates[0].nll for step in steps]
    assert [step.kept for step in steps] == [0 if nll < before else None for nll in nlls]
    lower = sum(nll < before for nll in nlls)
    with capsys.disabled():
        told = ", ".join(f"{kind} {nll - before:+.2f}" for kind, nll in zip(copies, nlls, strict=True))
        print(f"\n{example}: {lower} of {len(nlls)} copies lower the NLL of {before:.2f}: {told}")
    assert lower >= 4
