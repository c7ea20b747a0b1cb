"""What a sweep's folder holds, in the words of the tests."""

from dataclasses import dataclass, field

from espalier.orchestrator.planning.kind import Have


@dataclass(frozen=True)
class Folder:
    """Keys of finished pieces of work, and names of checkpoints."""

    snapshots: frozenset = frozenset()
    curves: frozenset = frozenset()
    grafts: frozenset = frozenset()
    pools: frozenset = frozenset()
    hybrids: frozenset = frozenset()
    blobs: frozenset = frozenset()
    hopeless: frozenset = frozenset()
    tuned: dict = field(default_factory=dict)

    @property
    def have(self):
        """The same as a plan wants it: identities by table."""
        keys = {
            "nets": self.snapshots,
            "grafts": self.grafts | self.pools,
            "downstream": self.grafts | self.pools,
            "ridges": self.grafts,
            "exchangeability": self.pools,
            "hybrids": self.hybrids,
        }
        present = {table: {(key,) for key in some} for table, some in keys.items()} | {"curves": self.curves}
        return Have(present, self.blobs, self.hopeless, self.tuned)
