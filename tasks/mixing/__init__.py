"""Channels of several nets put together: hybrids of two nets, pools and mixtures of many, and their tests.

May import `grafting` and the rooms below it, not `jobs`. Start with `hybrid`, which mixes the channels of two
nets, and with `exchangeability`, which asks whether a classifier can tell the nets' channels apart.
"""
