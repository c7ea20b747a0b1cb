"""What a sweep says: its tables as pandas frames, width limits, figures and the report.

Needs neither torch nor Ray: results can be read on a machine that has only pandas. The rooms are floors, from
the ground: `tables`, `limits`, `figures`, `report`, `report_cli`. Start with `analysis.tables`.
"""
