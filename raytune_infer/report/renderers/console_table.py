"""Tables on a console, as boxes of lines, split into parts below one another where the console is too narrow.

No number is ever broken or left out: if a column does not fit beside the key columns, each row is shown as a list.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.table import Table as Box
from rich.text import Text

from raytune_infer.report.renderers.cell_text import UNKNOWN, cell_text
from raytune_infer.report.view import Cell, Emphasis, Table
from raytune_infer.report.words.values import in_effect, value_text

STYLES: dict[Emphasis, str] = {"": "", "best": "bold green", "total": "bold", "doubtful": "dim"}
_AROUND = 3  # width around each column: a space on both sides and a line
# Our choice: texts are folded to no less than the first width; a word is broken only if it is longer than the second.
_LEAST_OF_TEXT, _MOST_OF_WORD = 24, 40


def plain(text: str) -> str:
    """Return a text with its control characters escaped, so that a terminal does not execute them."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True)
class _Shown:
    """One column as it is shown: its texts from top to bottom, and its name for lists, where the heading is empty."""

    heading: str
    texts: tuple[str, ...]
    name: str = ""
    left: bool = False
    folds: bool = False
    key: bool = False
    style: str = ""

    @property
    def most(self) -> int:
        """Its width when nothing is folded."""
        return max(cell_len(line) for text in (self.heading, *self.texts) for line in text.split("\n"))

    @property
    def least(self) -> int:
        """Its smallest width: headings and texts are folded between words, numbers are not."""
        words = [cell_len(word) for word in self.heading.split()]
        if not self.folds:
            return max([*words, *(cell_len(text) for text in self.texts)], default=0)
        longest = max((cell_len(word) for text in self.texts for word in text.split()), default=0)
        return max([*words, min(self.most, _LEAST_OF_TEXT), min(longest, _MOST_OF_WORD)])


def fits(table: Table, width: int) -> bool:
    """Whether each column fits in this width beside the key columns."""
    columns, _, _ = _laid_out(table)
    keys = [column for column in columns if column.key]
    return all(_total(keys if column.key else [*keys, column]) <= width for column in columns)


def listed(table: Table) -> Iterator[Text]:
    """Yield the table as a list: a line for each cell, and an empty line between rows."""
    columns = _straight(table)
    if table.title:
        yield Text(plain(table.title), style="italic")
    named = [plain(column.heading or column.name) for column in columns]
    width = max(map(cell_len, named)) + 2
    for at, row in enumerate(table.rows):
        if at:
            yield Text()
        for name, column in zip(named, columns, strict=True):
            if column.texts[at]:
                yield Text(f"  {name + ':':<{width}}{column.texts[at]}", style=STYLES[row.emphasis])


def boxed(table: Table, width: int) -> Iterator[Box]:
    """Yield the parts of the table as rich's tables, none wider than the console; only for a table that `fits`."""
    columns, styles, rule = _laid_out(table)
    for number, part in enumerate(_parts(columns, width)):
        shown = Box(
            title=Text(plain(table.title)) if table.title and not number else None, title_justify="left",
            box=box.HEAVY_HEAD,
        )  # fmt: skip
        for column, space in zip(part, _widths(part, width), strict=True):
            shown.add_column(
                Text(column.heading), justify="left" if column.left else "right", overflow="fold", width=space,
                style=column.style,
            )  # fmt: skip
        for at, style in enumerate(styles):
            shown.add_row(*(Text(column.texts[at]) for column in part), style=style or None, end_section=at == rule)
        yield shown


def _laid_out(table: Table) -> tuple[list[_Shown], list[str], int | None]:
    """Return the columns, the style of each line, and the line below which a rule is drawn."""
    if table.layout == "columns":
        return _turned(table)
    return _straight(table), [STYLES[row.emphasis] for row in table.rows], None


def _straight(table: Table) -> list[_Shown]:
    shown = []
    for column in table.columns:
        cells = table.column(column.name)
        if column.kind == "config" and column.spread:
            shown += [_knob(knob, cells) for knob in table.knobs(column.name)]
        elif column.key or not cells or any(cell is not None for cell in cells):
            texts = tuple(plain(cell_text(column, cell)) for cell in cells)
            text = column.kind in ("text", "config")
            shown.append(_Shown(plain(column.words), texts, column.name, left=text, folds=text, key=column.key))
    return shown


def _knob(name: str, cells: Sequence[Cell]) -> _Shown:
    known = [in_effect(cell) if isinstance(cell, Mapping) else {} for cell in cells]
    texts = tuple(plain(value_text(config[name])) if name in config else UNKNOWN for config in known)
    return _Shown(plain(name), texts, folds=any(len(text) > _LEAST_OF_TEXT for text in texts))


def _turned(table: Table) -> tuple[list[_Shown], list[str], int | None]:
    """Lay out each row as a column, with a rule below the knobs."""
    rows = _straight(table)
    heads, rows = rows[0], rows[1:]
    names = _Shown("", tuple(row.heading for row in rows), left=True, folds=True, key=True)
    columns = [
        _Shown(head, tuple(row.texts[at] for row in rows), style=STYLES[table.rows[at].emphasis], folds=True)
        for at, head in enumerate(heads.texts)
    ]
    knobs = sum(len(table.knobs(column.name)) for column in table.columns if column.spread)
    return [names, *columns], [""] * len(rows), knobs - 1 if knobs else None


def _parts(columns: Sequence[_Shown], width: int) -> Iterator[list[_Shown]]:
    """Split columns into parts: the key columns and as many others as fit, then the next ones."""
    keys = [column for column in columns if column.key]
    part, others = list(keys), 0
    for column in columns:
        if column.key:
            continue
        if others and _total([*part, column]) > width:
            yield _ordered(columns, part)
            part, others = list(keys), 0
        part.append(column)
        others += 1
    yield _ordered(columns, part)


def _ordered(columns: Sequence[_Shown], part: Sequence[_Shown]) -> list[_Shown]:
    wanted = {id(column) for column in part}
    return [column for column in columns if id(column) in wanted]


def _total(part: Sequence[_Shown]) -> int:
    return sum(column.least + _AROUND for column in part) + 1


def _widths(part: Sequence[_Shown], width: int) -> list[int]:
    """Return the widths: the smallest of each; what remains goes to texts, then to headings, smallest need first."""
    widths, left = [column.least for column in part], width - _total(part)
    for at, column in sorted(enumerate(part), key=lambda each: (not each[1].folds, each[1].most - each[1].least)):
        more = max(0, min(left, column.most - column.least))
        widths[at] += more
        left -= more
    return widths
