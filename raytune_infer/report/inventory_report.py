"""View of the machines of a cluster."""

from __future__ import annotations

from cluster.inventory import Inventory, Node
from cluster.prices import NoPrice, PriceBook
from raytune_infer.report.figures import EMULATED
from raytune_infer.report.view import Column, Note, Row, Table, View
from raytune_infer.report.words.values import significant


def inventory_view(inventory: Inventory, book: PriceBook) -> View:
    """Return the nodes of a cluster with their prices."""
    core, base = significant(book.cpu_core_usd_per_hour), significant(book.base_usd_per_hour)
    told = f"{core} USD/hour per core, {base} per replica"
    return View(tables=(inventory_table(inventory, book),), notes=(Note(told, "conclusion"),))


def inventory_table(inventory: Inventory, book: PriceBook) -> Table:
    """Return the table of nodes, one per row."""
    columns = (
        Column("node", "node", kind="text", key=True), Column("cpu_cores", "cores", digits="d"),
        Column("memory_gib", "memory", "GiB", digits=".1f"), Column("gpus", "GPUs", digits="g"),
        Column("gpu_type", "GPU type", kind="text"), Column("gpu_memory_gib", "GPU memory", "GiB", digits="g"),
        Column("gpu_usd_per_hour", unit="USD/hour per GPU"), Column("remarks", "remarks", kind="text"),
    )  # fmt: skip
    rows = [Row(_cells(node, book)) for node in inventory.nodes]
    return Table("nodes", columns, tuple(rows), title=f"prices: {book.name}, {book.date}")


def _cells(node: Node, book: PriceBook) -> tuple[str | int | float | None, ...]:
    price = _gpu_price(book, node.gpu_type)
    return (
        node.hostname, node.cpu_cores, node.memory_gib, node.gpus if node.gpu_type else None, node.gpu_type,
        node.gpu_memory_gib if node.gpu_type else None, price, ", ".join(_remarks(node, price)) or None,
    )  # fmt: skip


def _remarks(node: Node, price: float | None) -> list[str]:
    said = [EMULATED] if node.emulated else []
    if node.gpu_type and not node.emulated:
        said.append("MPS runs" if node.has_mps else "no MPS: GPU share by a green context")
    said += [] if node.unusable is None else [f"cannot be used: {node.unusable}"]
    return [*said, "no price"] if node.gpu_type and price is None else said


def _gpu_price(book: PriceBook, gpu_type: str | None) -> float | None:
    """Return the price of one GPU alone; None if there is no GPU, or the book lacks it."""
    if gpu_type is None:
        return None
    try:
        with_gpu = book.usd_per_hour(cpu_cores=0, gpu_type=gpu_type, gpu_share=1.0)
        return with_gpu - book.usd_per_hour(cpu_cores=0)
    except NoPrice:
        return None
