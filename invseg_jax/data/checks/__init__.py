"""Whether a data set can be trained on: every fault of every case, before the first step.

`case` looks at the files of one case, `cases` at all of them together; `sound` keeps which of them
have been found without fault, and `report` shows what was found.
"""
