"""The code blocks of a Markdown page, and what the comment before a block says of running it.

    <!-- runnable -->                     run by the tests, in a folder of its own for the page
    <!-- runnable: slow; OLD -> NEW -->   only with the slow tests, and with NEW for each OLD

Further words: `tiny` (a network of a few hundred weights and two steps), `trained` (the folder has
a run, runs/hippocampus), and `file NAME` (the block is saved as a file and not run). The folder
always has configs/ and a data set of six small volumes, Task04_Hippocampus.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(
    r"(?:^<!-- runnable(?::(?P<items>[^\n]*?))? -->\n)?"
    r"^```(?P<language>[a-z]+)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: "python", "bash", "text" and so on.
        code: its text, with the replacements that its comment asks for.
        line: of the page, where the fence is; counted from 1.
        runnable: whether a comment says so.
        words: of the comment, such as "slow" or "file my_data.py".
    """

    language: str
    code: str
    line: int
    runnable: bool
    words: tuple[str, ...] = ()

    def word(self, name: str) -> str | None:
        """What follows a word of the comment; None where it has no such word."""
        for word in self.words:
            first, _, rest = word.partition(" ")
            if first == name:
                return rest
        return None


def blocks(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page that name a language."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        comment = text[match.start() : match.start("language")]
        words, code = [], match["code"]
        for item in filter(None, map(str.strip, (match["items"] or "").split(";"))):
            old, arrow, new = item.partition(" -> ")
            if not arrow:
                words.append(item)
            elif old not in code:
                raise ValueError(f"{page.name}, line {line}: the block has no {old!r} to replace")
            else:
                code = code.replace(old, new)
        yield Block(match["language"], code, line, "runnable" in comment, tuple(words))


def cells(notebook: Path) -> list[tuple[frozenset[str], str]]:
    """The tags and the code of each cell of a text notebook."""
    found = []
    for match in _CELL.finditer(notebook.read_text(encoding="utf-8")):
        lines = match["code"].splitlines()
        tags: frozenset[str] = frozenset()
        if lines and lines[0].startswith(":tags:"):
            tags = frozenset(re.findall(r"\w+", lines.pop(0).removeprefix(":tags:")))
        found.append((tags, "\n".join(lines) + "\n"))
    return found
