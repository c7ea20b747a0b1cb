"""What a user sees of a sweep from beside it: `status` (one look, as data and as lines), the jobs' logs, and
`forecast` (what a run would take on a cluster).

It reads the folder and changes nothing. It may import `sweep` and what stands below. Start
reading in `status.py`.
"""
