"""Tables that say what the code does are what the code says, and the public API is what was frozen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from docs.generate import DOCUMENTS, PUBLIC_API, TABLES, cheapest, filled, public_api_text
from docs.public_api import MODULES
from tests.contract.test_docs import table

PARTS = [name for path in DOCUMENTS for name in TABLES if f"<!-- generated: {name} -->" in path.read_text()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_generated_parts_are_up_to_date(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text == filled(text), f"{path.name} differs from the code; run `make docs` and look at the difference"


def test_every_table_stands_in_exactly_one_document() -> None:
    assert sorted(PARTS) == sorted(TABLES)


def test_the_public_api_is_the_frozen_one() -> None:
    assert PUBLIC_API.read_text(encoding="utf-8") == public_api_text(), (
        "the public API has changed; if that is meant, run `make docs` and commit the difference"
    )


@pytest.mark.parametrize("module", MODULES)
def test_every_public_module_has_names(module: str) -> None:
    frozen = json.loads(PUBLIC_API.read_text(encoding="utf-8"))
    assert frozen[module]


def test_the_ranking_is_by_list_price_the_cheapest_first() -> None:
    rows = table(f"\n{cheapest()}\n\n", "")
    prices = [float(row[3].removeprefix("$")) for row in rows]
    assert prices == sorted(prices)
    shown = {row[1].strip("`"): (row[3], row[4]) for row in rows}
    assert shown["gpt-4o-mini"] == ("$0.15", "$0.60")
    assert shown["deepseek-chat"] == ("$0.27", "$1.10")
    assert shown["kimi-k2.5"] == ("$0.60", "$3.00")
    assert "gpt-5.4" not in shown


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_what_the_documents_say_is_there_is_there(path: Path) -> None:
    targets = [to for to in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")) if "://" not in to]
    assert [to for to in targets if not (path.parent / to).exists()] == []
