"""`python -m orchestrator`: the command line without the report, for workers' machines."""

from orchestrator.cli import main

main()
