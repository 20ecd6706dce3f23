"""Flax NNX building blocks; every module maps (n, d, h, w, c) to (n, d', h', w', c')."""
