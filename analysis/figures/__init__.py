"""The figures of a report, and the captions that say how to read them.

May import `limits` and `analysis.tables`, but nothing of `report`. Start with `report_figures`, which chooses
the figures that a sweep's tables allow, then with `style`, which draws all of them alike.
"""
