"""Names of licences as people write them."""

import pytest

from reer.files.export.licences import refusal, terms_of


@pytest.mark.parametrize(
    ("name", "standing", "hub"),
    [
        ("MIT", "free", ("mit",)),
        ("apache-2.0", "free", ("apache-2.0",)),
        ("Apache License, Version 2.0", "free", ("apache-2.0",)),
        ("CC-BY-SA-3.0", "free", ("cc-by-sa-3.0",)),
        ("CC BY 4.0", "free", ("cc-by-4.0",)),
        ("cc-by-nc-4.0", "research", ("cc-by-nc-4.0",)),
        ("CC BY-NC-ND 4.0", "research", ("cc-by-nc-nd-4.0",)),
        ("Creative Commons Attribution-NonCommercial 4.0", "research", ("cc-by-nc-4.0",)),
        ("CC BY-ND 4.0", "research", ("cc-by-nd-4.0",)),
        ("ODC-BY-1.0", "free", ("odc-by",)),
        ("Public domain in the US (text); Standard Ebooks edition dedicated CC0-1.0", "free", ("cc0-1.0", "other")),
        ("Public domain (text); collection MIT", "free", ("other", "mit")),
        ("MIT (as its card says; texts by users of Reddit)", "free", ("mit",)),
        ("MIT code, texts for research only", "research", ("mit",)),
        ("All rights reserved", "forbidden", ("other",)),
        ("unknown", "unknown", ("unknown",)),
        ("Not stated", "unknown", ("unknown",)),
        ("", "unnamed", ("unknown",)),
        ("house rules 7", "unread", ("other",)),
        ("summit licence", "unread", ("other",)),
    ],
)
def test_a_name_says_what_it_says(name: str, standing: str, hub: tuple[str, ...]) -> None:
    assert (terms_of(name).standing, terms_of(name).hub) == (standing, hub)


@pytest.mark.parametrize(
    ("name", "use", "allow", "refused"),
    [
        ("MIT", "commercial", False, None),
        ("cc-by-nc-4.0", "research", False, None),
        ("cc-by-nc-4.0", "commercial", True, "its licence (cc-by-nc-4.0) forbids commercial use"),
        ("All rights reserved", "research", True, "its licence (All rights reserved) forbids any use"),
        ("unknown", "research", False, "nobody knows its licence (licence.unknown=allow takes it)"),
        ("unknown", "commercial", True, None),
        ("", "commercial", False, None),
        ("house rules", "research", False, None),
        ("house rules", "commercial", False, "its licence (house rules) is not known here (licence.unknown=allow "),
    ],
)
def test_a_row_is_refused_for_what_its_licence_forbids(name: str, use: str, allow: bool, refused: str | None) -> None:
    said = refusal(name, use, allow)
    assert (said is None) if refused is None else (said or "").startswith(refused)
