"""Flags that say which pictures of a folder are meant, whichever verb reads them."""

from typing import Annotated

import typer

PartRegex = Annotated[str, typer.Option(help="its first group in a file name is the part's id")]
Only = Annotated[str, typer.Option(help="use files whose names match this expression at their beginning")]
