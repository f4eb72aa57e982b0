"""Templates that write today's date: that of the experiment, in whatever form, and nothing else about them changes."""

from datetime import date
from importlib.util import find_spec
from pathlib import Path

import pytest

from reer.backend.tokens.chat import ChatTokenizer
from reer.layout import day
from reer.types import Message

TURNS = "{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
ASK = [Message("user", "Write.")]


@pytest.fixture
def _the_sixth_of_june():
    before = list(day._settled)
    day.settle(date(2031, 6, 7))
    yield
    day._settled[:] = before


def dated(byte_level, written):
    tokenizer = ChatTokenizer(byte_level(written + TURNS), "m")
    return tokenizer.decode(tokenizer.chat(ASK))


@pytest.mark.usefixtures("_the_sixth_of_june")
@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("{{ 'Today Date: ' + strftime_now('%d %b %Y') + '\n' }}", "Today Date: 07 Jun 2031\n"),
        ('{{ strftime_now("%Y-%m-%d") }}{{ strftime_now(format="%A") }}', "2031-06-07Saturday"),
        ("{% set form = '%B %d, %Y' %}{{ strftime_now(form) }}", "June 07, 2031"),
        ("{% set d = strftime_now('%d %b %Y') if strftime_now is defined else 'no day' %}{{ d }}", "07 Jun 2031"),
        ("{% macro head() %}{{ strftime_now('%Y') }}{% endmacro %}{{ head() }}", "2031"),
        ("\n  {{ strftime_now('%H:%M') }}\n", "\n  00:00\n"),
        ("  {% if true %}\n{{ strftime_now('%d') }}{% endif %}", "07"),
    ],
)
def test_every_form_of_todays_date_is_the_experiments(byte_level, written, shown):
    assert dated(byte_level, written) == shown + "Write.</s>"


@pytest.mark.usefixtures("_the_sixth_of_june")
def test_llama_3_2_and_its_own_rendering_differ_in_the_date_alone(byte_level):
    template = (Path(find_spec("trl").origin).parent / "chat_templates/llama3_2.jinja").read_text(encoding="utf-8")
    tokenizer = byte_level(template, ["<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"])
    ours = ChatTokenizer(tokenizer, "m")
    own = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Write."}], tokenize=False, add_generation_prompt=True
    )
    today = own.partition("Today Date: ")[2].partition("\n")[0]
    assert ours.decode(ours.chat(ASK)) == own.replace(today, "07 Jun 2031")


def test_without_a_settled_day_it_is_today(byte_level):
    before, day._settled[:] = list(day._settled), []
    assert dated(byte_level, "{{ strftime_now('%Y') }}") == f"{date.today().year}Write.</s>"
    day._settled[:] = before
