"""One layer of a net fitted to the features of another: maps, their fits and the scores of grafted nets.

May import `training` and the rooms below it, so neither `mixing` nor `jobs`. Start with `graft`, which does a
whole tile of pairs, then with `tile_nets`, which gives it the features batch by batch.
"""
