"""What figures share: colours that can be told apart, names taken literally, a PNG or a reason."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Patch

from invseg_jax.errors import UserError
from invseg_jax.runs.figure import add_legend, class_colours, save_png


def test_colours_are_okabe_and_itos_and_differ():
    # The seven colours as published (Okabe & Ito 2008, "Color Universal Design").
    published = {
        (230, 159, 0),
        (86, 180, 233),
        (0, 158, 115),
        (240, 228, 66),
        (0, 114, 178),
        (213, 94, 0),
        (204, 121, 167),
    }
    first = np.rint(class_colours(7) * 255).astype(int)
    assert {tuple(c) for c in first.tolist()} == published
    colours = class_colours(21)
    distance = np.abs(colours[:, None] - colours[None]).sum(axis=-1) + np.eye(21)
    assert distance.min() > 0.1
    assert class_colours(0).shape == (0, 3)


def test_names_in_a_legend_are_taken_literally():
    names = ["_hidden", "$x", "a_{b$", "plain"]
    figure = Figure()
    add_legend(figure, [Patch() for _ in names], names, loc="center")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == names
    assert not any(text.get_parse_math() for text in legend.get_texts())


def test_a_glyph_that_the_font_lacks_is_no_warning(tmp_path):
    figure = Figure(figsize=(2, 1), dpi=50)
    figure.text(0.5, 0.5, "\u6838")
    save_png(figure, tmp_path / "p.png")
    assert imread(tmp_path / "p.png").shape == (50, 100, 4)


def test_a_folder_that_is_a_file_is_a_user_error(tmp_path):
    (tmp_path / "no").touch()
    with pytest.raises(UserError, match="no/p.png"):
        save_png(Figure(), tmp_path / "no" / "p.png")
