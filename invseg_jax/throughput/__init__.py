"""What a training spends besides its network: the table `benchmark pipeline`.

It stands apart from `benchmarks`, which runs on a bare GPU machine: it measures data and training,
and so needs all of the package.
"""
