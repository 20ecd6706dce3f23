import pytest

from invseg_jax.errors import UserError
from invseg_jax.files.byte_size import parse_size, show_size


@pytest.mark.parametrize(
    "text, size",
    [
        ("16GiB", 16 * 2**30),
        ("16GB", 16 * 10**9),
        ("16 GB", 16 * 10**9),
        ("500MiB", 500 * 2**20),
        ("1.5gib", 3 * 2**29),
        (".5KiB", 512),
        ("2TB", 2 * 10**12),
        (" 7 kb ", 7000),
        ("4096", 4096),
        ("4096B", 4096),
    ],
)
def test_sizes_are_read(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "GiB", "16G", "16 gigabytes", "-1GiB", "1e3MiB", "0", "0GiB", "nan", "1,5GiB", "3 3B"],
)
def test_what_is_no_size_is_an_error_of_one_line(text: str):
    with pytest.raises(UserError, match="no size of memory; write it as 16GiB") as caught:
        parse_size(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "size, text",
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (62_000_000, "59.1 MiB"),
        (4 * 2**30, "4.00 GiB"),
        (999 * 2**20, "999 MiB"),
        (1000 * 2**20, "0.98 GiB"),
        (123 * 2**30, "123 GiB"),
        (-(2**20), "-1.00 MiB"),
        (5000 * 2**40, "5000 TiB"),
    ],
)
def test_sizes_are_shown_in_three_digits(size: int, text: str):
    assert show_size(size) == text


def test_a_shown_size_is_read_back():
    for exponent in range(0, 44):
        size = 3 * 2**exponent // 2 + 1
        assert parse_size(show_size(size)) == pytest.approx(size, rel=0.01)
