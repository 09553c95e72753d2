"""The machines of a cluster, as people read them."""

from __future__ import annotations

from rich.table import Table

from cluster.inventory import Inventory
from cluster.prices import NoPrice, PriceBook
from raytune_infer.report.figures import EMULATED


def inventory_table(inventory: Inventory, book: PriceBook) -> Table:
    """The nodes of a cluster with their prices."""
    table = Table(title=f"prices: {book.name}, {book.date}", title_justify="left")
    for heading in ("node", "cores", "memory GiB", "GPUs", "GPU memory GiB", "USD/hour per GPU", "remarks"):
        table.add_column(heading)
    for node in inventory.nodes:
        marks = [EMULATED] if node.emulated else []
        if node.gpu_type and not node.emulated:
            marks.append("MPS runs" if node.has_mps else "no MPS: GPU share by a green context")
        table.add_row(
            node.hostname, str(node.cpu_cores), f"{node.memory_gib:.1f}",
            f"{node.gpus:g} × {node.gpu_type}" if node.gpu_type else "–",
            f"{node.gpu_memory_gib:g}" if node.gpu_type else "–", _gpu_price(book, node.gpu_type), ", ".join(marks),
        )  # fmt: skip
    return table


def _gpu_price(book: PriceBook, gpu_type: str | None) -> str:
    if gpu_type is None:
        return "–"
    try:
        with_gpu = book.usd_per_hour(cpu_cores=0, gpu_type=gpu_type, gpu_share=1.0)
        return f"{with_gpu - book.usd_per_hour(cpu_cores=0):.4g}"
    except NoPrice:
        return "no price"
