"""Searching hyperparameters: Optuna's studies, their trials on the sweep's pool, and the best of each study.

May import `running` and the rooms below it, but not the sweep. Start with `run_studies`, which goes over all
studies, then with `trial_driver`, which runs their trials.
"""
