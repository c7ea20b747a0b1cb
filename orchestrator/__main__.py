"""`python -m orchestrator`: the command line without the report, for workers' machines."""

from espalier.orchestrator.cli import main

main()
