"""Every command that a page shows is run by a test, or says why it is not."""

from pathlib import Path

import pytest

from tests.pages import NEEDS, ROOT, Block, claims, pages, read, unlabelled

# Falls, and never rises.
NOT_YET = 0
BLOCKS = [block for page in pages() for block in read(page)]
CLAIMS = {claim for test in sorted(ROOT.glob("tests/*/test_*.py")) for claim in claims(test.read_text("utf-8"))}


def covered(block: Block) -> bool:
    return any(claim.covers(block) for claim in CLAIMS)


def told(blocks: list[Block]) -> str:
    return "\n".join(f"{block.where}: {block.not_run or block.text.partition(chr(10))[0]}" for block in blocks)


def test_every_block_of_every_page_is_run_by_a_test_or_marked() -> None:
    alone = [block for block in BLOCKS if not block.not_run and not covered(block)]
    assert not alone, (
        f"no test runs these blocks:\n{told(alone)}\n"
        "run them by tests.pages.blocks(ROOT / 'docs' / 'page.md'), as tests/e2e/test_pages.py does, or put"
        " <!-- not run: needs root --> right before one; the words that count are in tests/pages.py"
    )


def test_a_mark_says_why_in_words_that_are_known() -> None:
    strange = [block for block in BLOCKS if block.not_run and not block.not_run.startswith(tuple(NEEDS))]
    assert not strange, f"expected one of {sorted(NEEDS)} at the beginning of\n{told(strange)}"


def test_a_test_runs_only_pages_and_headings_that_there_are() -> None:
    empty = [claim for claim in CLAIMS if not any(claim.covers(block) and not block.not_run for block in BLOCKS)]
    assert empty == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_commands_hide_in_a_fence_without_a_language(page: Path) -> None:
    assert unlabelled(page.read_text("utf-8")) == []


def test_what_is_not_run_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    marked = [block for block in BLOCKS if block.not_run]
    with capsys.disabled():
        print(f"\nblocks of commands that no test runs ({len(marked)} of {len(BLOCKS)}):\n{told(marked)}")  # noqa: T201
    assert sum(block.not_run == "not run yet" for block in marked) <= NOT_YET
