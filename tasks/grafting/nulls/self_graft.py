"""The null `self`: a net grafted into itself, the numerical floor."""

from espalier.tasks.grafting.nulls.null import Null, itself

SELF = Null("self", itself, by_default=True)
