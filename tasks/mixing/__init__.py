"""Channels of several nets put together: hybrids of two nets, pools of many, and paths between two.

May import `grafting` and the rooms below it, not `jobs`. Start with `hybrid`, which mixes the channels of two
nets, with `exchangeability`, which asks whether channels of a pool of nets serve as well as those of one, and
with `barrier_rows`, which follows the straight line between the parameters of two nets.
"""
