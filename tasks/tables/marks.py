"""What a warning says where an error tells nothing: whoever averages leaves such rows out and counts them."""

from __future__ import annotations

CONSTANT_TARGET = "the target's layer is constant"
"""There is no variance of which a share could be unexplained: such errors are null."""

BELOW_FLOOR = "below the floor"
"""The error is smaller than rounding lets it be known."""
