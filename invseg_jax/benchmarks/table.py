"""Tables of plain text and of JSON, with the bounds that their figures are held against."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from invseg_jax.files.json_values import JsonObject

Row = JsonObject  # values by the keys of the columns


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: of the rows' values.
        title: what stands above.
        form: how a number is written, as in `format(value, form)`.
    """

    key: str
    title: str
    form: str = ""

    def text(self, row: Row) -> str:
        """The cell of a row; a dash where it has no value."""
        value = row.get(self.key)
        if value is None:
            return "-"
        return value if isinstance(value, str) else format(value, self.form)


@dataclass(frozen=True)
class Bound:
    """A figure and the bound that the project holds it to.

    Attributes:
        name: what the figure is.
        value: the figure.
        limit: the bound.
        at_most: whether the figure should be at most, or at least, the bound.
        form: how both are written.
    """

    name: str
    value: float
    limit: float
    at_most: bool = True
    form: str = ".2f"

    @property
    def met(self) -> bool:
        """Whether the figure keeps to its bound; one that is no number does not."""
        return self.value <= self.limit if self.at_most else self.value >= self.limit

    def text(self) -> str:
        """One line: name, figure, bound, and whether it is met."""
        value, limit = format(self.value, self.form), format(self.limit, self.form)
        relation = "at most" if self.at_most else "at least"
        return f"{self.name}: {value} (aim: {relation} {limit}; {'met' if self.met else 'missed'})"

    def as_json(self) -> JsonObject:
        """The same as values."""
        kind = "at_most" if self.at_most else "at_least"
        return {"name": self.name, "value": self.value, kind: self.limit, "met": self.met}


@dataclass
class Table:
    """Rows under a title, with notes and bounds below.

    Attributes:
        title: what was measured, on what.
        columns: in their order.
        rows: values by the columns' keys; further values go to the JSON only.
        notes: sentences below the table.
        bounds: figures of the table and what the project holds them to.
    """

    title: str
    columns: Sequence[Column]
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)

    def text(self) -> str:
        """The table for a terminal: words to the left, numbers to the right.

        A column in which no row has a value is left out.
        """
        columns = [
            column
            for column in self.columns
            if not self.rows or any(row.get(column.key) is not None for row in self.rows)
        ]
        titles = [column.title for column in columns]
        cells = [[column.text(row) for column in columns] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(titles, *cells, strict=True)]
        words = [
            any(isinstance(row.get(column.key), str) for row in self.rows) for column in columns
        ]

        def line(texts: Sequence[str]) -> str:
            places = zip(texts, widths, words, strict=True)
            return "  ".join(
                text.ljust(width) if word else text.rjust(width) for text, width, word in places
            ).rstrip()

        rule = "  ".join("-" * width for width in widths)
        lines = [self.title, "", line(titles), rule, *map(line, cells)]
        below = [*self.notes, *(bound.text() for bound in self.bounds)]
        return "\n".join([*lines, "", *below] if below else lines)

    def as_json(self) -> JsonObject:
        """The same as values, with the rows as they were given."""
        return {
            "title": self.title,
            "rows": [dict(row) for row in self.rows],
            "notes": list(self.notes),
            "bounds": [bound.as_json() for bound in self.bounds],
        }
