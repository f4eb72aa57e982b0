"""The 25 categories of writing: 13 of the paper, 12 of ours.

The paper has 25 and names 13: those over 0.5 % in its figure 5 (what is left there is `other`), and the four kinds of
artistic writing in its detail figure. The rest was found nowhere. Ours fill it up to 25, twelve of which are artistic;
each is a part of one of the paper's, under which a mixture counts it that does not name it.
"""

from collections.abc import Container

OTHER = "other"
PAPER = {
    "artistic/creative": "stories, novels, narrative fiction of any kind that no other name fits better",
    "artistic/essay": "essays, sermons, reflections and argument written as literature",
    "artistic/analysis": "reviews, criticism and interpretation of works of art",
    "artistic/script": "plays, screenplays, dialogue for stage, film or games",
    "finance_business": "companies, markets, money, management",
    "science_engineering": "natural science, mathematics, technology, programming",
    "ordinary_life": "everyday matters: home, food, family, hobbies, advice among friends",
    "scholarly": "academic papers, abstracts, theses",
    "advertising_marketing": "advertisements, slogans, product texts, campaigns",
    "education": "teaching material, lessons, study advice",
    "law": "contracts, statutes, legal opinion",
    "politics": "government, speeches, policy, public affairs",
    OTHER: "none of these",
}
"""The paper's names -> what belongs there, in our words."""
OURS = {
    "artistic/poetry": ("artistic/creative", "poems, ballads, prose poems"),
    "artistic/lyrics": ("artistic/creative", "words to be sung"),
    "artistic/fable_myth": ("artistic/creative", "fables, parables, fairy tales, legends, myths"),
    "artistic/children": ("artistic/creative", "stories and verse for children"),
    "artistic/worldbuilding": ("artistic/creative", "invented worlds, characters and settings, material for games"),
    "artistic/humor_satire": ("artistic/creative", "jokes, parody, comic and satirical pieces"),
    "artistic/life_writing": ("artistic/essay", "memoirs, diaries, portraits of persons"),
    "artistic/travel_nature": ("artistic/essay", "descriptions of places, journeys, landscapes, things"),
    "history_culture": ("scholarly", "history, religion, customs, philosophy explained"),
    "health": ("ordinary_life", "medicine, mental health, sport, nutrition"),
    "journalism": (OTHER, "news, reports, interviews"),
    "workplace": ("finance_business", "mails, notices, minutes, applications, speeches at work"),
}
"""Our names -> the paper's category that it is a part of, and what belongs there."""
CATEGORIES = {name: what for name, what in PAPER.items() if name != OTHER}
CATEGORIES |= {name: what for name, (_, what) in OURS.items()} | {OTHER: PAPER[OTHER]}


def counted_as(domain: str, mixture: Container[str]) -> str:
    """The name under which a mixture counts a domain: its own, else that of the paper's category it is a part of."""
    whole, _ = OURS.get(domain, (domain, ""))
    return whole if domain not in mixture and whole in mixture else domain
