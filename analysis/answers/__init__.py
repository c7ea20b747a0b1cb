"""Answers about a sweep's nets: functions from the rows of its tables to tidy frames with intervals.

May import `limits` and `analysis.tables` alone. Start with `null_ratios`, whose `compare_to_null` is the
simplest. Each function is a name of `espalier`.
"""
