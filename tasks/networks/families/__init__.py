"""Families of networks: each is one file with one value, a `Family`, and one entry in `known_families`.

Plain Python: a family only makes lists of layers. Nothing here imports torch, and nothing outside this room
knows a family by its name. Start reading at `family`, which says what a family tells of itself.
"""
