"""How blocks of commands are found in pages, and the tests that run them in sources."""

import pytest

from tests.pages import Block, Claim, blocks_in, claims, unlabelled

PAGE = """# Page

```sh
edge-cloud one
```

## First

<!-- not run: needs root -->
```bash
rm -rf everything   # a `tick` inside
```

### Below

```console
$ edge-agent status
unet: 3 READY
$ edge-agent models
```

```toml
# [device]
```

## Second

- a list:

  ```sh
  edge-cloud two \\
    --flag
  ```
"""


def test_every_block_is_known_by_page_line_and_headings() -> None:
    assert [(block.where, block.headings) for block in blocks_in(PAGE, "docs/page.md")] == [
        ("docs/page.md:3", ("Page",)),
        ("docs/page.md:10", ("Page", "First")),
        ("docs/page.md:16", ("Page", "First", "Below")),
        ("docs/page.md:30", ("Page", "Second")),
    ]


def test_a_block_holds_what_the_reader_types() -> None:
    assert [block.text for block in blocks_in(PAGE, "docs/page.md")] == [
        "edge-cloud one\n",
        "rm -rf everything   # a `tick` inside\n",
        "edge-agent status\nedge-agent models\n",
        "edge-cloud two \\\n  --flag\n",
    ]


def test_a_mark_takes_out_the_block_that_follows_it_and_no_other() -> None:
    assert [block.not_run for block in blocks_in(PAGE, "p.md")] == ["", "needs root", "", ""]
    apart = "<!-- not run: needs root -->\nText.\n\n```sh\ntrue\n```\n"
    assert [block.not_run for block in blocks_in(apart, "p.md")] == [""]


@pytest.mark.parametrize(("text", "lines"), [("```\nedge-agent run\n```\n", [1]), ("\n```\nfile,split\n```\n", [])])
def test_commands_in_a_fence_without_a_language_are_noticed(text: str, lines: list[int]) -> None:
    assert unlabelled(text) == lines


def test_a_claim_covers_a_page_or_what_stands_under_a_heading() -> None:
    block = Block("docs/page.md", 16, ("Page", "First", "Below"), "true\n")
    covering = [Claim("docs/page.md", ""), Claim("docs/page.md", "First"), Claim("docs/page.md", "Below")]
    assert all(claim.covers(block) for claim in covering)
    assert not Claim("docs/page.md", "Second").covers(block)
    assert not Claim("README.md", "").covers(block)


def test_claims_are_read_off_the_calls_of_a_test() -> None:
    source = """
def test_it(tmp_path):
    run_blocks(blocks(ROOT / "README.md", "The loop"), tmp_path)
    commands = pages.blocks(ROOT / "docs" / "data.md")
    blocks(ROOT / "docs/trust.md")
    blocks(page)
    others(ROOT / "docs" / "other.md")
"""
    assert set(claims(source)) == {
        Claim("README.md", "The loop"),
        Claim("docs/data.md", ""),
        Claim("docs/trust.md", ""),
    }
