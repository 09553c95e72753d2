"""The table of a cluster: each node's cells, by hand."""

import datetime as dt

from cluster.inventory import Inventory, Node
from cluster.prices import PriceBook
from raytune_infer.report.inventory_report import inventory_table, inventory_view
from tests.raytune_infer.report.shown_views import headings, texts

BOOK = PriceBook("mine", dt.date(2026, 1, 31), "a list", 0.05, {"T4": 0.48, "V100": 2.5}, base_usd_per_hour=0.25)
"""A GPU's price is its own: neither a replica's base nor a core's is in it."""

NODES = (
    Node("a", "head", cpu_cores=0, memory_gib=3.75),
    Node("b", "shared", cpu_cores=8, memory_gib=31.04, gpu_type="T4", gpus=2, gpu_memory_gib=15, has_mps=True),
    Node("c", "alone", cpu_cores=96, memory_gib=384, gpu_type="V100", gpus=1, gpu_memory_gib=31.75),
    Node("d", "pretended", cpu_cores=4, memory_gib=16, gpu_type="V100", gpus=4, gpu_memory_gib=16, emulated=True),
    Node("e", "own", cpu_cores=16, memory_gib=64, gpu_type="Quadro", gpus=1, gpu_memory_gib=24, has_mps=True),
)


def rows(nodes: tuple[Node, ...], book: PriceBook = BOOK) -> list[list[str]]:
    table = inventory_table(Inventory(nodes), book)
    return [headings(table), *texts(table)]


HEADINGS = ["node", "cores", "memory, GiB", "GPUs", "GPU type", "GPU memory, GiB", "USD/hour per GPU", "remarks"]


def test_a_node_is_its_cores_its_memory_its_gpus_and_what_one_of_them_costs():
    without = "no MPS: GPU share by a green context"
    assert rows(NODES) == [
        HEADINGS,
        ["head", "0", "3.8", "–", "", "–", "–", ""],
        ["shared", "8", "31.0", "2", "T4", "15", "0.48", "MPS runs"],
        ["alone", "96", "384.0", "1", "V100", "31.75", "2.5", without],
        ["pretended", "4", "16.0", "4", "V100", "16", "2.5", "emulated"],
        ["own", "16", "64.0", "1", "Quadro", "24", "–", "MPS runs, no price"],
    ]


def test_a_gpu_that_torch_cannot_run_says_so_and_a_slice_costs_its_part():
    old = Node("f", "old", 4, 16, "V100", 1, 15.8, unusable="torch there has no kernels for it")
    cut = Node("g", "cut", 4, 16, "A100-40G-1g.10gb", 7, 9.5, has_mps=True)
    book = PriceBook("mine", BOOK.date, "a list", 0.05, {"V100": 2.5, "A100-40G": 2.0})
    assert [row[4:] for row in rows((old, cut), book)[1:]] == [
        ["V100", "15.8", "2.5",
         "no MPS: GPU share by a green context, cannot be used: torch there has no kernels for it"],
        ["A100-40G-1g.10gb", "9.5", "0.5", "MPS runs"],
    ]  # fmt: skip


def test_a_price_is_of_the_book_that_the_title_names():
    other = PriceBook("theirs", dt.date(2021, 11, 1), "another list", 1.0, {"T4": 0.123456})
    assert [row[6] for row in rows(NODES, other)[1:]] == ["–", "0.1235", "–", "–", "–"]
    assert ["no price" in row[7] for row in rows(NODES, other)[1:]] == [False, False, True, True, True]
    titles = [inventory_table(Inventory(NODES), book).title for book in (BOOK, other)]
    assert titles == ["prices: mine, 2026-01-31", "prices: theirs, 2021-11-01"]


def test_a_cluster_without_a_node_is_an_empty_table():
    assert rows(()) == [HEADINGS]


def test_beside_the_nodes_stands_what_a_core_and_a_replica_cost():
    view = inventory_view(Inventory(NODES), BOOK)
    assert [note.text for note in view.notes] == ["0.05 USD/hour per core, 0.25 per replica"]
    assert [table.name for table in view.tables] == ["nodes"]
