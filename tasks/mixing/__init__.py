"""Channels of several nets put together: hybrids of two nets, and pools of many.

May import `grafting` and the rooms below it, not `jobs`. Start with `hybrid`, which mixes the channels of two
nets, and with `exchangeability`, which asks whether channels of a pool of nets serve as well as those of one.
"""
