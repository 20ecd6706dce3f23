"""The report as one HTML page, which needs no other file and runs no script."""

import base64
import json
import math
from collections.abc import Mapping
from html import escape as escape_html
from pathlib import Path

import numpy as np

from invseg_jax.errors import UserError
from invseg_jax.evaluation.metrics import nan_std
from invseg_jax.files.json_values import JsonObject
from invseg_jax.files.printable import printable

# Of what the scores are, in words: those of cases trained on must not pass for others.
_SPLITS = {
    "val": " the network was not trained on",
    "train": " the network was trained on",
    "all": ", some of which the network was trained on",
}


def report_page(summary: JsonObject, pictures: Mapping[str, Path]) -> str:
    """Renders a summary as a page: the table of the Dice, the pictures, the configuration.

    Args:
        summary: What summary.json holds, see `report.write_report`.
        pictures: PNG or JPEG files by caption, embedded in the page; one whose caption is the name
            of a case is linked from the table.

    Raises:
        UserError: A picture cannot be read.
    """
    cases = summary["cases"]
    places = {caption: f"picture-{number}" for number, caption in enumerate(pictures, 1)}
    regions = ""
    if "region_dice" in summary["mean"]:
        regions = f"<h2>Dice of the regions</h2>\n{_table(summary, 'region_dice', places)}"
    figures = "".join(
        f'<figure id="{places[caption]}"><figcaption>{escape(caption)}</figcaption>'
        f'<img src="{_embedded(path)}" alt="{escape(caption)}"></figure>\n'
        for caption, path in pictures.items()
    )
    versions = " &middot; ".join(
        escape(f"{name} {version}") for name, version in summary["versions"].items() if version
    )
    number = f"{len(cases)} case" + ("" if len(cases) == 1 else "s")
    scored = summary.get("scored") or {}
    config = json.dumps(summary["config"], indent=2, ensure_ascii=False)
    number += escape(_SPLITS.get(scored.get("split", ""), ""))
    return _PAGE.format(
        style=_STYLE,
        lead=f"{number}, mean Dice <strong>"
        f"{_number(_float(summary['mean']['dice']['mean']))}</strong>"
        + (f" &middot; {escape(scored['data'])}" if scored.get("data") else ""),
        dice=_table(summary, "dice", places),
        regions=regions,
        figures=f"<h2>Pictures</h2>\n{figures}" if figures else "",
        config="\n".join(map(escape, config.split("\n"))),
        versions=versions,
    )


def escape(text: str) -> str:
    """One line of text in HTML, the same on every screen."""
    return escape_html(printable(text))


def _table(summary: JsonObject, key: str, places: Mapping[str, str]) -> str:
    """Mean and standard deviation of each column, and a row a case.

    Beside the Dice of the classes stands the mean of their intersection over union.
    """
    names, cases = [*summary["mean"][key]], summary["cases"]
    with_iou = key == "dice" and "iou" in summary["mean"]

    def values(entry: JsonObject) -> list[float]:
        more = [entry["iou"]["mean"]] if with_iou else []
        return [_float(value) for value in (*entry[key].values(), *more)]

    names += ["IoU"] if with_iou else []
    means, rows = values(summary["mean"]), [values(case) for case in cases]
    spread = nan_std(np.array(rows, np.float64).reshape(len(rows), len(means)))
    body = "".join(
        f'<tr><th scope="row">{_case(case["id"], places)}</th>{"".join(map(_cell, row))}</tr>\n'
        for case, row in zip(cases, rows, strict=True)
    )
    return _TABLE.format(
        head="".join(f'<th scope="col">{escape(name)}</th>' for name in names),
        mean_row="".join(_cell(m, s) for m, s in zip(means, spread, strict=True)),
        body=body,
    )


def _float(value: float | None) -> float:
    return math.nan if value is None else value


def _number(value: float) -> str:
    return "&ndash;" if math.isnan(value) else f"{value:.4f}"


def _cell(value: float, spread: float = math.nan) -> str:
    more = "" if math.isnan(spread) else f' <span class="sd">&plusmn; {spread:.4f}</span>'
    return f"<td>{_number(value)}{more}</td>"


def _case(name: str, places: Mapping[str, str]) -> str:
    text = escape(name)
    if name in places:
        text = f'<a href="#{places[name]}">{text}</a>'
    return f"<div>{text}</div>"


def _embedded(path: Path) -> str:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the picture {path} for the report: {error.strerror}; evaluate again"
        ) from error
    kind = "jpeg" if content.startswith(b"\xff\xd8") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff;
  max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
a { color: #0b57a4; text-underline-offset: .15em; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem 0 .3rem 1.6rem; text-align: right; vertical-align: top;
  white-space: nowrap; border-bottom: 1px solid #ddd; }
tr > :first-child { text-align: left; padding-left: 0; position: sticky; left: 0;
  background: #fff; }
tr > :first-child > div { width: max-content; max-width: min(40ch, 40vw); white-space: normal;
  overflow-wrap: anywhere; }
thead th, tr.mean > * { border-bottom: 2px solid #1a1a1a; }
tbody th { font-weight: normal; }
tr.mean > * { font-weight: bold; }
.sd { display: block; font-weight: normal; font-size: .85em; color: #555; }
.note, footer { color: #555; font-size: .9rem; }
figure { margin: 0 0 2rem; break-inside: avoid; }
figcaption { font-weight: bold; margin-bottom: .3rem; overflow-wrap: anywhere; }
img { max-width: 100%; height: auto; display: block; border-radius: .3rem; }
summary { cursor: pointer; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; background: #f5f5f5;
  padding: .8rem; border-radius: .3rem; }
@media (max-width: 30rem) { table { font-size: .85rem; }
  th, td { padding-left: .7rem; } }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } .table { overflow: visible; }
  img { max-height: 22cm; width: auto; } tr { break-inside: avoid; }
  a { color: inherit; text-decoration: none; } }
"""

_TABLE = """<div class="table">
<table>
<thead><tr><th scope="col">case</th>{head}</tr></thead>
<tbody>
<tr class="mean"><th scope="row">mean &plusmn; sd</th>{mean_row}</tr>
{body}</tbody>
</table>
</div>
"""

# The policy lets the page load nothing and run nothing, whatever a name in it may hold.
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Segmentation report</title>
<style>{style}</style>
</head>
<body>
<h1>Segmentation report</h1>
<p>{lead}</p>
<h2>Dice</h2>
{dice}{regions}<p class="note">sd: sample standard deviation over the cases. &ndash;: the class or
region is in neither the truth nor the prediction; such a case is left out of the mean. IoU:
intersection over union, its mean over the classes.</p>
{figures}
<details><summary>Configuration</summary><pre>{config}</pre></details>
<footer><p>{versions}</p></footer>
</body>
</html>
"""
