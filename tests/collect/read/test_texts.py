"""Works from files of every kind, and what cannot be read set aside with one sentence."""

import sys
import zipfile

import pytest
from books_made import epub, pdf

from collect.read import books
from collect.read.passages import from_texts, off_length
from collect.read.texts import read_texts
from reer.config import SourceConfig
from reer.errors import ConfigError, DataError
from reer.files.pairs import Notes, Quarantined

SENTENCE = "The lamp went out before the boat came home. "


def only(path):
    [found] = read_texts(path)
    return found


def reason(path):
    found = only(path)
    assert isinstance(found, Quarantined), found
    return found.reason


def test_an_epub_is_read_in_the_order_of_its_spine_without_imprint_and_notes(tmp_path):
    note = '<a epub:type="noteref" href="n.xhtml#1">1</a>'
    chapters = {
        "imprint.xhtml": "<p>All rights</p>",
        "one.xhtml": f"<h2>I<br/>The <em>Lamp</em></h2><p>Rain &amp; wind{note}.</p>"
        "<p>A line<br/>of verse</p><hr/><p>B.</p>",
        "two.xhtml": "<h2>II</h2><p>雨停了。</p>",
    }
    found = only(epub(tmp_path / "b.epub", chapters))
    assert found.text == "# I The Lamp\n\nRain & wind.\n\nA line\nof verse\n\n* * *\n\nB.\n\n\n# II\n\n雨停了。"
    assert found.about == {"title": "The Lamp", "author": "A. Writer", "licence": "CC0", "language": "en"}
    assert found.origin == "A. Writer, The Lamp (b.epub)"
    assert found.notes == {"parts of a book without its text": 1}


def test_an_epub_that_unpacks_to_too_much_is_set_aside_unread(tmp_path, monkeypatch):
    path = epub(tmp_path / "b.epub", {"one.xhtml": "<p>" + "rain " * 2000 + "</p>"})
    monkeypatch.setattr(books, "UNPACKED", 5_000)
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *_: pytest.fail("was unpacked"))
    assert reason(path).startswith("unpacks to 10,")


def test_a_chapter_that_is_too_long_is_told(tmp_path, monkeypatch):
    path = epub(tmp_path / "b.epub", {"one.xhtml": "<p>" + "rain " * 2000 + "</p>"})
    monkeypatch.setattr(books, "TEXT", 5_000)
    assert "book/text/one.xhtml has 10," in reason(path)


def test_broken_epubs_are_told(tmp_path):
    whole = epub(tmp_path / "whole.epub", {"one.xhtml": f"<p>{SENTENCE}</p>"}).read_bytes()
    (tmp_path / "whole.epub").unlink()
    cut = tmp_path / "cut.epub"
    cut.write_bytes(whole[: len(whole) // 2])
    assert reason(cut).startswith("is no whole EPUB")
    cut.unlink()
    with zipfile.ZipFile(tmp_path / "other.epub", "w") as archive:
        archive.writestr("a.txt", "x")
    assert reason(tmp_path / "other.epub") == "is no whole EPUB: it holds no META-INF/container.xml"
    (tmp_path / "other.epub").unlink()
    assert "spine names 'gone'" in reason(epub(tmp_path / "c.epub", {"one.xhtml": "<p>x</p>"}, spine=["gone"]))
    (tmp_path / "c.epub").unlink()
    assert reason(epub(tmp_path / "d.epub", {"one.xhtml": "<img src='a.png'/>"})) == "holds no chapter with text"


def test_a_pdf_loses_running_heads_and_hyphens_and_gets_its_paragraphs_back(tmp_path):
    lines = ["Rain fell all night and the lamp went out long be-", "fore the boat came home to the little har-",
             "bour. The end."]  # fmt: skip
    found = only(pdf(tmp_path / "a.pdf", [["THE LAMP", *lines, f"{n}"] for n in range(1, 6)]))
    whole = "Rain fell all night and the lamp went out long before the boat came home to the little harbour. The end."
    assert found.text.split("\n\n") == [whole] * 5
    assert found.notes == {"running heads": 10, "pages without text": 0}


def test_a_scanned_pdf_and_one_that_is_none_are_told(tmp_path):
    assert "its 2 pages hold no text" in reason(pdf(tmp_path / "a.pdf", [[], []]))
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 no more")
    assert reason(tmp_path / "a.pdf").startswith("is no PDF that can be read")


def test_a_web_page_is_read_without_its_navigation(tmp_path):
    body = "".join(f"<p>{SENTENCE * 4}</p>" for _ in range(5))
    page = f"<html><head><title>The &amp; Lamp</title></head><body><nav><a href='/'>Home</a></nav><h1>Lamp</h1>{body}"
    (tmp_path / "a.html").write_text(page + "</body></html>")
    found = only(tmp_path / "a.html")
    assert "Home" not in found.text
    assert found.text.startswith("# Lamp\n\nThe lamp went out")
    assert found.about == {"title": "The & Lamp"}


def test_the_front_matter_of_markdown_tells_title_and_licence(tmp_path):
    (tmp_path / "a.md").write_text('---\ntitle: "The Lamp"\nlicense: CC0-1.0\n---\n# I\n\nRain *fell*.\n')
    found = only(tmp_path / "a.md")
    assert found.text == "# I\n\nRain *fell*.\n"
    assert found.about == {"title": "The Lamp", "licence": "CC0-1.0"}


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "is empty"),
        (b" \n\n ", "is empty"),
        (b"caf\xe9 au lait", "is not utf-8 at byte 3; save it as UTF-8"),
        (b"a\0b", "holds NUL bytes: no text"),
    ],
)
def test_files_without_a_usable_text_are_told(tmp_path, raw, why):
    (tmp_path / "a.txt").write_bytes(raw)
    assert reason(tmp_path / "a.txt") == why


def test_utf16_and_the_character_set_of_a_gutenberg_text_are_known(tmp_path):
    (tmp_path / "a.txt").write_bytes("雨停了".encode("utf-16"))
    (tmp_path / "b.txt").write_bytes("Character set encoding: ISO-8859-1\n\ncafé".encode("latin-1"))
    first, second = read_texts(tmp_path)
    assert first.text == "雨停了"
    assert second.text.endswith("café")


def test_without_the_extra_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.html").write_text("<p>x</p>")
    monkeypatch.setitem(sys.modules, "resiliparse.extract.html2text", None)
    with pytest.raises(ConfigError, match=r"needs the extra `books`: pip install 'reer\[books\]'"):
        only(tmp_path / "a.html")


def test_a_folder_without_texts_and_a_wrong_kind_are_refused(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"x")
    with pytest.raises(DataError, match="holds no text"):
        list(read_texts(tmp_path))
    with pytest.raises(DataError, match=r"a\.docx: no kind of text that is read \(\.txt"):
        list(read_texts(tmp_path / "a.docx"))


def test_passages_carry_their_document_and_the_limit_counts_those_of_a_right_length(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        text = "\n\n".join(f"Chapter {n}\n\n{SENTENCE * (20 if n % 2 else 2)}" for n in range(1, 7))
        (tmp_path / name / "same.txt").write_text(text)
    (tmp_path / "blank.md").write_text("# Only a title\n")
    source = SourceConfig(kind="texts", path=str(tmp_path), licence="CC0-1.0", limit=4)
    rows = list(from_texts(source, Notes()))
    [broken] = [row for row in rows if isinstance(row, Quarantined)]
    assert (broken.file, broken.reason) == ("blank.md", "holds no passage once titles and notices are taken off")
    passages = [row for row in rows if row is not broken]
    right = [row for row in passages if off_length(row, source) is None]
    assert [(row.extra["document"], row.extra["heading"]) for row in right] == [
        ("one/same.txt", "Chapter 1"), ("one/same.txt", "Chapter 3"), ("one/same.txt", "Chapter 5"),
        ("two/same.txt", "Chapter 1"),
    ]  # fmt: skip
    assert {off_length(row, source) for row in passages} == {None, "short_passage"}
    assert {row.licence for row in passages} == {"CC0-1.0"}
    assert len({row.id for row in passages}) == len(passages)
