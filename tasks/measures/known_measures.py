"""The measures' names, and how much is looked at for each: for those who plan them, without PyTorch."""

MEASURES = (
    "cka", "cka_channels", "rsa", "cca_mean", "pwcca", "procrustes", "alignment", "match", "semi_match",
    "energy", "mmd", "sliced_w2", "mmd_inputs",
)  # fmt: skip
"""All measures, in the order of the page that defines them."""

FITTED = "alignment"
"""The one that is fitted on training images."""

MOST, FEWEST = 199, 19
"""Permutations of a measure that needs a product, a factorisation or an assignment of C x C for each."""

DEAR = 4
"""By how much fewer where singular vectors are needed, too."""

UP_TO_CHANNELS = 64
"""Channels up to which `MOST` are made; beyond it their number falls with the square of the channels."""

MOST_INPUTS, FEWEST_INPUTS = 128, 16
"""How many (image, position) pairs `mmd_inputs` averages over: fewer where channels are many."""

DIRECTIONS = 256
"""Of `sliced_w2`."""


def permutations_of(channels: int, wanted: int, dear: bool = False) -> int:
    """How many permutations a pair gets whose wider net has so many channels.

    >>> [permutations_of(channels, 999) for channels in (16, 64, 128, 512)]
    [199, 199, 49, 19]
    >>> permutations_of(64, 999, dear=True), permutations_of(64, 9)
    (49, 9)
    """
    share = min(1.0, UP_TO_CHANNELS / channels) ** 2
    return min(wanted, max(FEWEST, int(MOST * share / (DEAR if dear else 1))))


def inputs_of(channels: int) -> int:
    """How many inputs `mmd_inputs` takes for so many channels of both nets together.

    >>> [inputs_of(channels) for channels in (16, 128, 256, 1024)]
    [128, 128, 32, 16]
    """
    return max(FEWEST_INPUTS, min(MOST_INPUTS, MOST_INPUTS * 128**2 // channels**2))
