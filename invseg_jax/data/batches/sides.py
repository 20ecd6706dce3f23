"""Names that differ only in their side, such as left_kidney and right_kidney.

Mirrored along the left-right axis, an image of one such class shows the other. Where a network is
to tell them apart, such mirror images teach it a wrong answer (`data/batches/flips.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

# Words for left and for right that belong together: both names of a pair use words of one row.
_WORDS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    # English, and what is written for short
    (("left",), ("right",)),
    (("l",), ("r",)),
    (("lt",), ("rt",)),
    (("lft",), ("rgt",)),
    (("lh",), ("rh",)),
    # German and Dutch
    (
        ("links", "linke", "linker", "linkes", "linken", "linkem", "linksseitig"),
        ("rechts", "rechte", "rechter", "rechtes", "rechten", "rechtem", "rechtsseitig"),
    ),
    (("li",), ("re",)),
    # French
    (("gauche", "gauches"), ("droit", "droite", "droits", "droites")),
    # Spanish
    (
        ("izquierdo", "izquierda", "izquierdos", "izquierdas"),
        ("derecho", "derecha", "derechos", "derechas"),
    ),
    (("izq", "izda", "izdo"), ("der", "dcha", "dcho")),
    # Portuguese
    (
        ("esquerdo", "esquerda", "esquerdos", "esquerdas"),
        ("direito", "direita", "direitos", "direitas"),
    ),
    (("esq",), ("dir",)),
    # Italian, and Latin
    (("sinistro", "sinistra", "sinistri", "sinistre"), ("destro", "destra", "destri", "destre")),
    (("sinister", "sinistra", "sinistrum"), ("dexter", "dextra", "dextrum")),
    (("sx", "sn"), ("dx",)),
    (("sin",), ("dex", "dx")),
    # Japanese, in syllables
    (("ひだり",), ("みぎ",)),
)
# Chinese and Japanese, which have no spaces: found anywhere in a word.
_SIGNS = ("左", "右")
# A shorter word is found only where it stands alone: "lumen" and "rumen" have no sides.
_GLUED_LETTERS = 4

_LEFT, _RIGHT = 0, 1


def side_pairs(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Finds the pairs of names that differ in nothing but left and right.

    A name is split into words where letters end and where a capital begins: "Left-Hippocampus",
    "kidneyLeft", "Kidney (L)", "lh.cortex". A long enough word is also found at either end of
    another word ("leftkidney"). Capitals, the encoding of accents, separators and the place of the
    side in the name do not matter; all other words and numbers must be the same. Both names of a
    pair must be there: "leftover" alone has no side.

    Args:
        names: of classes or regions.

    Returns:
        Pairs of a left and a right name, in the order of the left names.
    """
    found: dict[tuple, dict[int, list[str]]] = {}
    for name in dict.fromkeys(names):
        for key, side in dict.fromkeys(_readings(name)):
            found.setdefault(key, {_LEFT: [], _RIGHT: []})[side].append(name)
    pairs = {
        (left, right)
        for sides in found.values()
        for left in sides[_LEFT]
        for right in sides[_RIGHT]
        if left != right
    }
    order = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return tuple(sorted(pairs, key=lambda pair: (order[pair[0]], order[pair[1]])))


def _readings(name: str) -> Iterator[tuple[tuple, int]]:
    """Every way to take a side out of a name: the row of words and what remains, and the side."""
    words = _words(name)
    for row, sides in enumerate(_WORDS):
        for side, forms in enumerate(sides):
            for number, word in enumerate(words):
                before, after = words[:number], words[number + 1 :]
                if word in forms:
                    yield (row, before + after), side
                for rest in _unglued(word, forms):
                    yield (row, (*before, rest, *after)), side
            # As in "Left Hand (left)": both words at once.
            others = tuple(word for word in words if word not in forms)
            if len(words) - len(others) > 1:
                yield (row, "all", others), side
    for number, word in enumerate(words):
        for side, sign in enumerate(_SIGNS):
            for place in (m.start() for m in re.finditer(sign, word)):
                rest = word[:place] + word[place + 1 :]
                rest = (rest,) if rest else ()
                yield ("sign", (*words[:number], *rest, *words[number + 1 :])), side


def _words(name: str) -> tuple[str, ...]:
    """The words and numbers of a name, without capitals."""
    # Also brings letters of double width to their usual form.
    text = unicodedata.normalize("NFKC", name)
    runs = re.findall(r"[^\W\d_]+|\d+", text)
    # "leftKidney", and "LHCortex" before its last capital.
    border = re.compile(r"(?<=[a-zß-öø-ÿ])(?=[A-ZÀ-ÖØ-Þ])|(?<=[A-Z])(?=[A-Z][a-z])")
    return tuple(word.casefold() for run in runs for word in border.split(run))


def _unglued(word: str, forms: Sequence[str]) -> Iterator[str]:
    """What remains of a word that begins or ends with one of the forms."""
    for form in forms:
        if _GLUED_LETTERS <= len(form) < len(word):
            if word.startswith(form):
                yield word[len(form) :]
            if word.endswith(form):
                yield word[: -len(form)]
