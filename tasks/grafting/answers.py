"""What a grafted net answers, beside its target and source: loss, accuracies, and the images that it loses.

Legend: as in `tasks.tables.image_blocks`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from espalier.tasks.grafting.error_blocks import blocks
from espalier.tasks.grafting.score import GraftScore
from espalier.tasks.tables.image_blocks import BLOCKS, COUNT, LOST, MOST_IMAGES
from espalier.tasks.training.loss import share


def answers(entry: GraftScore, target: GraftScore, source: GraftScore | None, images: int) -> dict[str, Any]:
    """Loss and accuracies of a graft, of its target and of its source, where that is one net."""
    accuracy, target_accuracy = share(entry.count, images), share(target.count, images)
    return {
        "loss_test": entry.loss / images,
        "accuracy_test": accuracy,
        "target_accuracy_test": target_accuracy,
        "source_accuracy_test": share(source.count, images) if source else None,
        "accuracy_drop": None if target_accuracy is None or accuracy is None else target_accuracy - accuracy,
        **lost(target.right_N, entry.right_N),
    }


def lost(target_N: Tensor | None, graft_N: Tensor | None) -> dict[str, Any]:
    """In which images the target is right and the graft wrong, or the reverse; nulls without classes.

    `target_N` and `graft_N` say which images each classifies rightly, in the order of the held-out images.
    """
    if target_N is None or graft_N is None:
        return {name: None for name, _, _ in LOST}
    drop_N = target_N.cpu().long() - graft_N.cpu().long()
    return {
        "lost_images": int((drop_N > 0).sum()),
        "gained_images": int((drop_N < 0).sum()),
        "drop_by_block": _by_block(drop_N) if len(drop_N) <= MOST_IMAGES else None,
    }


def _by_block(drop_N: Tensor) -> bytes:
    total_K = torch.zeros(BLOCKS, dtype=torch.long).index_add(0, blocks(len(drop_N)), drop_N)
    return total_K.numpy().astype(COUNT).tobytes()
