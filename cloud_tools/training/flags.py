"""Flags that learning takes, whichever verb learns."""

from typing import Annotated

import typer

from cloud_tools.training.options import Device, Scope, Tune

Size = Annotated[int, typer.Option(help="side of the model's input in pixels; 0: chosen from the pictures")]
Epochs = Annotated[int, typer.Option(help="of learning; 0: the method's own number")]
Threads = Annotated[int, typer.Option(help="of torch; 0: all cores")]
Where = Annotated[Device, typer.Option(help="where to learn; auto: a GPU if there is one and it is of use")]
Width = Annotated[float, typer.Option(help="efficientad: 0.25 or 1; 0: a quarter on the CPU, full on a GPU")]
Scored = Annotated[Scope | None, typer.Option(help="dfm: what is scored; both if not given")]
Tuned = Annotated[Tune | None, typer.Option(help="dfm: how the trunk learns the product first")]
