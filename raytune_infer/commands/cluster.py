"""`cluster`: nodes, GPU types, cores, memory and prices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raytune_infer.commands.options import Address, Emulate, console_of_output


def cluster(
    address: Address = None,
    emulate: Emulate = None,
    prices: Annotated[str | None, typer.Option(help="A price book: a built-in name or a YAML file.")] = None,
) -> None:
    """Nodes, GPU types, cores, memory and prices; what is emulated."""
    from cluster import inventory
    from cluster.prices import DEFAULT_BOOK, load_prices
    from raytune_infer.report.inventory_report import inventory_table
    from raytune_infer.study.session import ray_session

    book = load_prices(prices or DEFAULT_BOOK)
    with ray_session(address=address, emulate=emulate, folder=Path.cwd()):
        table = inventory_table(inventory.from_ray(), book)
    console = console_of_output()
    console.print(table)
    console.print(f"{book.cpu_core_usd_per_hour:.4g} USD/hour per core, {book.base_usd_per_hour:.4g} per replica")
