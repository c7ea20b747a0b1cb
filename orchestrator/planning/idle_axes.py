"""Whether what `[sweep]` varies makes other nets: an axis that changes none would be crossed in vain."""

from __future__ import annotations

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.nets import nets
from espalier.tasks.data.images import DataFacts


def refuse_idle_axes(config: SweepConfig, facts: DataFacts) -> None:
    """Refuse a crossed field of which no value changes any net, and one setting under several names.

    Raises:
        ConfigError: Names the field, or the pairing that then has nothing to pair.
    """
    few = config.sweep.model_copy(update={"widths": config.sweep.widths[:1], "seeds": config.sweep.seeds[:1]})
    every = len(nets(config.model_copy(update={"sweep": few}), facts))
    for field, values in config.sweep.cross.items():
        fixed = few.model_copy(update={"cross": config.sweep.cross | {field: values[:1]}})
        if len(values) > 1 and len(nets(config.model_copy(update={"sweep": fixed}), facts)) == every:
            raise ConfigError(
                f"sweep.cross.'{field}': {list(values)} all make the same nets, since nothing that trains "
                "them reads it (such as gamma without schedule = 'multi_step'): leave it out"
            )
    if every < 2 and "cross_setting" in config.graft.pairings:
        raise ConfigError(
            "graft.pairings has 'cross_setting', but all of sweep.settings make the same nets: "
            "change a field that the recipe reads"
        )
