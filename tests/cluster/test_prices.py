import datetime
import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gpu_names import gpu_names
from cluster.prices import NoPrice, PriceBook, PriceBookError, built_in, load_prices, usd_per_million

GOOD = """
name: mine
date: 2026-02-01
source: invoice
cpu_core_usd_per_hour: 0.05
gpu_usd_per_hour: {T4: 0.4}
"""


@pytest.fixture
def book(tmp_path):
    def load(text):
        path = tmp_path / "book.yaml"
        path.write_text(text)
        return load_prices(path)

    return load


@pytest.mark.parametrize(
    "cores, gpu, usd",
    [
        (8, "T4", 0.75),
        (8, "V100", 3.06),
        (16, "M60", 0.87),
        (16, None, 0.54),  # the paper's four instances
    ],
)
def test_the_papers_instances_cost_what_the_paper_says(cores, gpu, usd):
    prices = load_prices("morphling-2021")
    share = 1.0 if gpu else 0.0
    assert prices.usd_per_hour(cpu_cores=cores, gpu_type=gpu, gpu_share=share) == pytest.approx(usd)


def test_a_share_by_hand():
    # 3 cores and a fifth of a T4: 3 x 0.54 / 16 + 0.2 x (0.75 - 8 x 0.54 / 16) = 0.10125 + 0.096
    prices = load_prices("morphling-2021")
    assert prices.usd_per_hour(cpu_cores=3, gpu_type="Tesla T4", gpu_share=0.2) == pytest.approx(0.19725)


@pytest.mark.parametrize("name", built_in())
def test_built_in_books(name):
    book = load_prices(name)
    assert book.name == name and book.date.year == int(name[-4:]) and book.source
    assert all(gpu_names.find(gpu).name == gpu for gpu in book.gpu_usd_per_hour)
    assert pickle.loads(pickle.dumps(book)) == book


INSTANCES = {
    "K80": (0.90, 4, 1),
    "M60": (1.14, 16, 1),
    "P100": (1.46, 0, 1),  # Google lists it by itself
    "V100": (3.06, 8, 1),
    "V100-32G": (31.212, 96, 8),
    "T4": (0.752, 8, 1),
    "A10": (3.20, 36, 1),
    "A10G": (1.212, 8, 1),
    "A100-40G": (21.957642, 96, 8),
    "A100-80G": (27.44705, 96, 8),
    "L4": (0.9776, 8, 1),
    "L40S": (2.24208, 8, 1),
    "H100-SXM": (6.88, 16, 1),
    "H200": (63.296, 192, 8),
    "B200": (113.9328, 192, 8),
    "MI300X": (48.0, 96, 8),
}
"""GPU → list price of an instance in USD per hour, its vCPUs and its GPUs."""


@pytest.mark.parametrize("gpu", sorted({*INSTANCES, *load_prices("cloud-2026").gpu_usd_per_hour}))
def test_every_price_of_the_default_book_adds_up_to_that_of_an_instance(gpu):
    instance_usd, vcpus, count = INSTANCES[gpu]
    usd = load_prices("cloud-2026").usd_per_hour(cpu_cores=vcpus, gpu_type=gpu, gpu_share=count)
    assert usd == pytest.approx(instance_usd, abs=0.001)


def test_a_users_book(book):
    prices = book(GOOD)
    assert prices.usd_per_hour(cpu_cores=2, gpu_type="T4", gpu_share=0.5) == pytest.approx(0.3)
    assert book(GOOD + "base_usd_per_hour: 1\n").usd_per_hour(cpu_cores=0) == 1.0
    assert book(GOOD.replace("T4:", "Tesla T4:")).gpu_usd_per_hour == {"T4": 0.4}
    assert book(GOOD.replace("{T4: 0.4}", "{}")).usd_per_hour(cpu_cores=1) == 0.05


def test_a_gpu_without_a_price(book):
    with pytest.raises(NoPrice, match=r"'mine' has no price for a V100, only for T4; add it under"):
        book(GOOD).usd_per_hour(cpu_cores=1, gpu_type="V100", gpu_share=0.1)


@pytest.mark.parametrize(
    "text, says",
    [
        (
            GOOD + "gpu_usd: {}\n",
            r"book.yaml:7: a price book has no field 'gpu_usd'; did you mean `gpu_usd_per_hour`\? Allowed: name",
        ),
        (GOOD.replace("source: invoice", ""), r"`source` missing; a price book needs name, date"),
        (GOOD.replace("0.4", "cheap"), r"`gpu_usd_per_hour.T4` is 'cheap', it must be US dollars an hour"),
        (GOOD.replace("0.4", "-1"), r"`gpu_usd_per_hour.T4` is -1"),
        (GOOD.replace("0.05", ".nan"), r"`cpu_core_usd_per_hour` is nan"),
        (GOOD.replace("0.05", "true"), r"`cpu_core_usd_per_hour` is true"),
        (GOOD.replace("{T4: 0.4}", "0.4"), r"`gpu_usd_per_hour` is 0.4, it must map GPU types"),
        (GOOD.replace("{T4: 0.4}", "{T4: 0.4, Tesla T4: 0.5}"), r"T4 twice \('Tesla T4' is the same GPU\)"),
        (GOOD.replace("{T4: 0.4}", "{T4: 0.4, T4: 0.5}"), r"book.yaml:6: 'T4' occurs twice"),
        (GOOD.replace("2026-02-01", "last May"), r"`date` is 'last May'"),
        (GOOD.replace("2026-02-01", "2026-02-31"), r"book.yaml:3: .*'2026-02-31' cannot be read as timestamp"),
        (GOOD.replace("name: mine", "name: 3"), r"`name` is 3, it must be some text"),
        (GOOD + "currency: EUR\n", r"`currency` is 'EUR', only USD"),
        (GOOD + "? [a, b]\n: 1\n", r"book.yaml"),
        ("", r"a mapping of keys is needed, .*found an empty file"),
        ("- 1\n", r"found a list"),
        ("name: [", r"book.yaml:1: not valid YAML .*close the bracket"),
    ],
)
def test_bad_files_say_where_and_what(book, text, says):
    with pytest.raises(PriceBookError, match=says) as caught:
        book(text)
    assert "book.yaml" in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_book_may_say_that_its_prices_are_in_dollars(book):
    assert book(GOOD + "currency: USD\n") == book(GOOD)


def test_no_such_book(tmp_path):
    with pytest.raises(PriceBookError, match=r"no price book 'claud' .*are cloud-2026, morphling-2021"):
        load_prices("claud")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(PriceBookError, match="not UTF-8 text; save it as UTF-8"):
        load_prices(tmp_path / "binary")


def test_bad_questions(book):
    with pytest.raises(ValueError, match="needs a GPU type"):
        book(GOOD).usd_per_hour(cpu_cores=1, gpu_share=0.5)
    with pytest.raises(ValueError, match="0 or more"):
        book(GOOD).usd_per_hour(cpu_cores=-1)


def test_usd_per_million():
    assert usd_per_million(0.36, 100) == pytest.approx(1.0)  # 0.36 $/h is 1e-4 $/s, for 100 requests
    with pytest.raises(ValueError, match="above 0"):
        usd_per_million(0.36, 0)
    assert usd_per_million(3.6, 1) == pytest.approx(1000.0)
    assert usd_per_million(0.0, 1) == 0.0
    for rps in (-1.0, math.nan):
        with pytest.raises(ValueError, match="above 0"):
            usd_per_million(0.36, rps)


def mine(base=0.5, core=0.1, **gpus):
    day = datetime.date(2026, 2, 1)
    return PriceBook("mine", day, "invoice", core, gpus or {"L4": 1.0, "L40S": 10.0}, base_usd_per_hour=base)


def test_a_replica_pays_its_base_its_cores_and_its_part_of_its_own_card_an_hour():
    book = mine()
    assert book.usd_per_hour(cpu_cores=0) == 0.5
    assert book.usd_per_hour(cpu_cores=3) == pytest.approx(0.5 + 0.3)
    assert book.usd_per_hour(cpu_cores=3, gpu_type="L4", gpu_share=1.0) == pytest.approx(0.5 + 0.3 + 1.0)
    assert book.usd_per_hour(cpu_cores=3, gpu_type="NVIDIA L40S", gpu_share=1.0) == pytest.approx(0.5 + 0.3 + 10.0)
    assert book.usd_per_hour(cpu_cores=3, gpu_type="L40S", gpu_share=0.05) == pytest.approx(0.5 + 0.3 + 0.5)
    assert book.usd_per_hour(cpu_cores=3, gpu_type="L40S", gpu_share=2) == pytest.approx(0.5 + 0.3 + 20.0)
    # No share said is no part of the card, so nothing is paid for it.
    assert book.usd_per_hour(cpu_cores=3, gpu_type="L4") == book.usd_per_hour(cpu_cores=3)
    assert book.base_usd_per_hour == 0.5
    assert PriceBook("mine", book.date, "invoice", 0.1, {}).usd_per_hour(cpu_cores=0) == 0.0


@given(st.floats(0, 64), st.floats(0, 8), st.sampled_from(["T4", "A100-40G", "A100-80G", "L4", "L40S", None]))
def test_scaled_prices_scale_every_configuration_so_no_order_changes(cores, share, gpu):
    book = load_prices()
    dearer = PriceBook(
        "dearer", book.date, "x", 3 * book.cpu_core_usd_per_hour,
        {name: 3 * usd for name, usd in book.gpu_usd_per_hour.items()}, 3 * book.base_usd_per_hour,
    )  # fmt: skip
    asked = {"cpu_cores": cores, "gpu_type": gpu, "gpu_share": share if gpu else 0.0}
    assert dearer.usd_per_hour(**asked) == pytest.approx(3 * book.usd_per_hour(**asked))


def test_a_slice_costs_its_part_of_the_card_unless_it_has_a_price_of_its_own():
    """The larger of its parts of memory and multiprocessors: nobody else can have the rest of these."""
    book = mine(**{"A100-40G": 7.0, "A30": 4.0})

    def usd(name, share=1.0, of=book):
        return of.usd_per_hour(cpu_cores=0, gpu_type=name, gpu_share=share) - 0.5

    assert usd("NVIDIA A100-SXM4-40GB MIG 1g.5gb") == pytest.approx(1.0)
    assert usd("A100-40G-1g.10gb") == pytest.approx(7 / 4) and usd("A100-40G-3g.20gb") == pytest.approx(7 / 2)
    assert usd("A100-40G-7g.40gb") == pytest.approx(7.0) and usd("A30-1g.6gb", share=0.5) == pytest.approx(0.5)
    assert usd("A100-40G-1g.5gb", of=mine(**{"A100-40G": 7.0, "A100-40G MIG 1g.5gb": 0.9})) == pytest.approx(0.9)
    for name in ("H200-1g.18gb", "A100-80G-PCIe"):  # neither it nor its card has a price; a sibling's is not its own
        with pytest.raises(NoPrice, match=name.split("-1g")[0]):
            usd(name)


def test_a_price_is_of_one_card():
    """One that a book has for `A100` is not silently that of the smaller one alone."""
    with pytest.raises(PriceBookError, match="`gpu_usd_per_hour`: 'A100' may be A100-40G, A100-80G") as caught:
        mine(A100=2.0)
    assert caught.value.keys == ("gpu_usd_per_hour", "A100")


def test_both_sizes_of_a_card_have_prices_of_their_own():
    book = mine(**{"A100-40G": 2.0, "A100-80G": 3.0})
    for name, usd in (("A100", 2.0), ("NVIDIA A100-PCIE-40GB", 2.0), ("NVIDIA A100-SXM4-80GB", 3.0)):
        assert book.usd_per_hour(cpu_cores=0, gpu_type=name, gpu_share=1.0) == pytest.approx(0.5 + usd)
    with pytest.raises(NoPrice, match=r"'mine' has no price for a L4, only for A100-40G, A100-80G; add it"):
        book.usd_per_hour(cpu_cores=0, gpu_type="L4", gpu_share=1.0)
    with pytest.raises(NoPrice, match="only for no GPU at all"):
        PriceBook("mine", book.date, "x", 0.1, {}).usd_per_hour(cpu_cores=0, gpu_type="L4")


@pytest.mark.parametrize(
    "asked",
    [{"cpu_cores": -0.5}, {"cpu_cores": math.inf}, {"cpu_cores": math.nan},
     *({"cpu_cores": 1, "gpu_type": "L4", "gpu_share": share} for share in (-0.5, math.inf, math.nan))],
)  # fmt: skip
def test_cores_and_shares_are_numbers_of_0_or_more(asked):
    with pytest.raises(ValueError, match="must be 0 or more, got"):
        mine().usd_per_hour(**asked)


@pytest.mark.parametrize("where", ["base", "core", "L4"])
def test_a_price_is_from_0_to_a_million(where):
    for usd in (0, 1_000_000):
        assert mine(**{where: usd}).usd_per_hour(cpu_cores=1, gpu_type="L4" if where == "L4" else None) >= 0
    for wrong in (-0.01, 1_000_000.01, math.nan, True, "1", None):
        with pytest.raises(PriceBookError, match="must be US dollars an hour: a number from 0 to 1e\\+06") as caught:
            mine(**{where: wrong})
        assert caught.value.keys[-1] == {"base": "base_usd_per_hour", "core": "cpu_core_usd_per_hour"}.get(where, where)
        assert f"`{'.'.join(caught.value.keys)}` is " in str(caught.value)


def test_an_error_names_the_line_of_what_is_wrong(book):
    lines = {"cpu_core_usd_per_hour": 5, "date": 3, "name": 2, "source": 4, "gpu_usd_per_hour": 6}
    for key, line in lines.items():
        text = "\n".join(f"{key}: []" if row.startswith(key) else row for row in GOOD.split("\n"))
        with pytest.raises(PriceBookError, match=f"book.yaml:{line}: `{key}` is \\[\\]"):
            book(text)
    with pytest.raises(PriceBookError, match=r"book.yaml:7: `base_usd_per_hour` is -1"):
        book(GOOD + "base_usd_per_hour: -1\n")
    with pytest.raises(PriceBookError, match=r"book.yaml:7: `currency` is 'EUR'"):
        book(GOOD + "currency: EUR\n")
    with pytest.raises(PriceBookError, match=r"book.yaml:8: .*T4 twice"):
        book(GOOD.replace("{T4: 0.4}", "\n  T4: 0.4\n  Tesla T4: 0.5"))
    with pytest.raises(PriceBookError, match=r"book.yaml:1: `name`, `date` missing; .* date, source, cpu_core"):
        book("source: x\ncpu_core_usd_per_hour: 1\ngpu_usd_per_hour: {}\n")
    with pytest.raises(PriceBookError, match=r"`source` is '  ', it must be some text"):
        book(GOOD.replace("invoice", "'  '"))
    with pytest.raises(PriceBookError, match=r"a price book has no field 'zzz'\. Allowed: name, date"):
        book(GOOD + "zzz: 1\n")


def test_a_date_is_a_day_however_it_is_written(book):
    assert book(GOOD).date == book(GOOD.replace("2026-02-01", "'2026-02-01'")).date == datetime.date(2026, 2, 1)
    with pytest.raises(PriceBookError, match="must be the day of the prices"):
        book(GOOD.replace("2026-02-01", "2026-02-01 10:00:00"))


def test_a_book_on_its_way_to_a_worker_stays_what_it_is():
    book = mine()
    copy = pickle.loads(pickle.dumps(book))
    assert copy == book and type(copy.gpu_usd_per_hour) is type(book.gpu_usd_per_hour)
    with pytest.raises(TypeError):
        copy.gpu_usd_per_hour["L4"] = 0.0
