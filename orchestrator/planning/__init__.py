"""What is missing of a sweep and how it becomes jobs: pure functions from config and inventory to a plan.

May import `config`; it reads and writes no files, and knows neither the store nor the driver. Start with
`plan`, then with `kind`, the face that each kind of work in `planning.kinds` shows.
"""
