"""The report of a sweep: chapters of findings and figures, and the HTML page that holds them.

May import `figures`, `limits` and `analysis.tables`, but not the command line. Start with `html_page`, then
with `chapters`.
"""
