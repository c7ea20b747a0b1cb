"""The columns of the tables of studies beside the study's key, its width and the axes of its setting."""

import pyarrow as pa

from espalier.tasks.tables.columns import INTEGER, REAL, TEXT

Columns = list[tuple[str, pa.DataType, str]]

NUMBER = ("number", INTEGER, "number of the trial in its study, from 0")
PARAMETERS = ("parameters", TEXT, "what was tried, as JSON: fields of `[train]` and their values")
OBJECTIVE = ("objective", TEXT, "loss (the less the better) or accuracy (the more), on held-back images")

TRIALS: Columns = [
    NUMBER,
    PARAMETERS,
    ("tried_lr", REAL, "learning rate that the trial trained with, tuned or not"),
    ("tried_momentum", REAL, "momentum that it trained with"),
    ("tried_batch_size", INTEGER, "images per step that it trained with"),
    ("tried_reg_weight", REAL, "weight of the regularizer that it trained with"),
    OBJECTIVE,
    (
        "value",
        REAL,
        "the objective after the last epoch that was reported, mean over seeds; null of none",
    ),
    (
        "state",
        TEXT,
        "complete, pruned, diverged, refused (values that do not go together), failed (given up after "
        "`run.attempts` tries) or lost (the run ended); the last two were asked again",
    ),
    ("epochs", INTEGER, "epochs that were reported"),
    ("epochs_wanted", INTEGER, "epochs of a trial that is not pruned"),
    ("seeds", TEXT, "seeds of its nets"),
    ("images_validation", INTEGER, "training images that were held back to judge it"),
    ("sampler", TEXT, "what asked for it: tpe, random or cmaes"),
    ("pruner", TEXT, "what might end it early: none, median, halving or hyperband"),
    ("seconds", REAL, "seconds of work inside workers; null of a trial that was lost"),
    ("error", TEXT, "empty, or one line that says what went wrong"),
]

TRIAL_CURVES: Columns = [
    NUMBER,
    ("seed", INTEGER, "seed of the trial's net"),
    ("epoch", INTEGER, "epoch of training, from 1"),
    ("loss_train", REAL, "mean over the epoch's batches of the loss while training"),
    ("loss_validation", REAL, "loss on the held-back training images after the epoch"),
    ("accuracy_train", REAL, "share classified rightly over the epoch's batches while training"),
    ("accuracy_validation", REAL, "share of held-back images classified rightly after the epoch"),
    ("learning_rate", REAL, "learning rate at the end of the epoch"),
    ("seconds", REAL, "wall time of the epoch, evaluation included, seconds"),
]

TUNED: Columns = [
    NUMBER,
    PARAMETERS,
    OBJECTIVE,
    ("value", REAL, "its objective"),
    ("trials", INTEGER, "trials that it was chosen from: complete, pruned, diverged or refused"),
]
