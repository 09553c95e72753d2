"""`cluster`: nodes, GPU types, cores, memory and prices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from raytune_infer.commands.options import Address, Emulate, Format


def cluster(
    address: Address = None,
    emulate: Emulate = None,
    prices: Annotated[str | None, typer.Option(help="A price book: a built-in name or a YAML file.")] = None,
    form: Format = "console",
) -> None:
    """Show nodes, GPU types, cores, memory and prices, and what is emulated."""
    from cluster import inventory
    from cluster.prices import DEFAULT_BOOK, load_prices
    from raytune_infer.report.inventory_report import inventory_view
    from raytune_infer.report.renderers import renderer_of
    from raytune_infer.study.connection.session import check_session, ray_session

    render = renderer_of(form)
    book = load_prices(prices or DEFAULT_BOOK)
    check_session(address=address, emulate=emulate)
    with ray_session(address=address, emulate=emulate, folder=Path.cwd()):
        view = inventory_view(inventory.from_ray(), book)
    render(view, sys.stdout)
