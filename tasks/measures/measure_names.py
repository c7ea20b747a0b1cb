"""The names of the measures, for those who plan them without PyTorch."""

MEASURES = (
    "cka", "cka_channels", "rsa", "cca_mean", "pwcca", "procrustes", "alignment", "match", "semi_match",
    "energy", "mmd", "sliced_w2", "mmd_inputs",
)  # fmt: skip
"""All measures, in the order of the page that defines them."""

FITTED = "alignment"
"""The one that is fitted on training images."""
