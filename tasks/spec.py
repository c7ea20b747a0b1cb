"""What an experiment is: frozen, plain descriptions of data, networks, recipes and pairs.

Nothing here says where or how something runs (device, paths, batch sizes of evaluation); these
values, and only these, make the content keys of `orchestrator.planning.identity`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

NULLS = ("self", "untrained", "shuffled_images", "permuted")
"""The nulls and floors of docs/method.md, section 3, that a graft of one snapshot can be."""

Activation = Literal["relu", "tanh", "none"]
Loss = Literal["cross_entropy", "mse"]
Init = Literal["he_normal", "uniform"]
Parametrization = Literal["sp", "ntk", "mup", "mean_field"]
Regularizer = Literal["l2", "l12", "none"]
Optimizer = Literal["sgd", "adamw"]
Precision = Literal["float32", "tf32", "bf16"]
Augment = Literal["none", "crop_flip"]
Method = Literal["exact", "stitch", "adam"]
Statistics = Literal["target", "reestimated"]
PoolNull = Literal["pooled", "wider_subset"]
Matching = Literal["none", "weights", "activations"]
Correction = Literal["none", "repair"]

POOL_NULLS: tuple[PoolNull, ...] = get_args(PoolNull)
"""The nulls of docs/method.md, section 3, whose source is several nets; the rest: `tasks.grafting.nulls`."""

Pairing = Literal["same_width", "cross_width", "cross_epoch", "cross_setting", "skip"]
PAIRINGS: tuple[Pairing, ...] = get_args(Pairing)
"""Which nets are grafted into which (docs/method.md, section 2)."""

METHODS: tuple[Method, ...] = ("exact", "stitch", "adam")
"""How a cut can be re-fitted (docs/method.md, section 2)."""

MATCHINGS: tuple[Matching, ...] = get_args(Matching)
"""How channels of one net are matched to another's before both are mixed (docs/method.md, section 2)."""

CORRECTIONS: tuple[Correction, ...] = get_args(Correction)
"""What is done to the statistics of a mixture of weights (docs/method.md, section 2)."""

STATISTICS: tuple[Statistics, ...] = ("target", "reestimated")
"""Whose BN statistics a grafted net can use (docs/method.md, section 2)."""


@dataclass(frozen=True)
class Shortcut:
    """An earlier activation that is added to what a layer gives before its nonlinearity.

    `reads` is the number of the layer whose `h` is added (0 for the image), as it is or through a
    `projection`: a 1x1 conv of that `stride` with bias, then BN where `batch_norm` says so.
    """

    reads: int
    projection: bool = False
    stride: int = 1
    batch_norm: bool = False


@dataclass(frozen=True)
class Layer:
    """One linear map `z_l = W * h_{l-1} + b` and what follows it, in this order.

    BN (`batch_norm`), plus the `shortcut`, `activation`, a max-pool of `pool` x `pool` (1 for none), the mean
    over all positions (`global_pool`) and, in training alone, a `dropout` of that share of what is left.
    `kernel`, `padding` and `stride` belong to convs; a dense layer flattens its input in (channel, row,
    column) order.
    """

    kind: Literal["conv", "dense"]
    out: int
    kernel: int = 1
    padding: int = 0
    pool: int = 1
    activation: Activation = "relu"
    stride: int = 1
    batch_norm: bool = False
    shortcut: Shortcut | None = None
    global_pool: bool = False
    dropout: float = 0.0


@dataclass(frozen=True)
class Architecture:
    """A network as data: the shape (channels, height, width) of its input, and its layers 1..L."""

    input: tuple[int, int, int]
    layers: tuple[Layer, ...]

    @property
    def depth(self) -> int:
        """L, the number of layers with parameters, the classifier included."""
        return len(self.layers)


@dataclass(frozen=True)
class DataSpec:
    """Which images, identified by content: the same images have the same spec wherever they are stored.

    `name` is what the tables show; `content` identifies the images and the rule that split them
    (a library's version, or the SHA-256 of the files); limits take a stratified subset.
    """

    name: str
    content: str
    limit_train: int | None = None
    limit_test: int | None = None


@dataclass(frozen=True)
class Schedule:
    """The learning rate over training as a factor of `Recipe.lr`.

    `multi_step` multiplies by `gamma` at each of `milestones` (epochs), `cosine` falls to 0 at
    `epochs`; both start with a linear warm-up over `warmup_epochs`. `epochs` is None unless the
    kind depends on it, so that a longer run of a horizon-free schedule extends the same nets.
    """

    kind: Literal["constant", "multi_step", "cosine"]
    warmup_epochs: float = 0.0
    milestones: tuple[int, ...] = ()
    gamma: float = 1.0
    epochs: int | None = None


@dataclass(frozen=True)
class Recipe:
    """How a net is trained: SGD on the loss plus `reg_weight` times the regularizer, or AdamW.

    The regularizers are those of `tasks.training.regularizer`, of the weights of the linear maps (biases and
    BN left out, unless `reg_biases` has l2 take them in). The loss `mse`, of a regression, is the mean over
    images and outputs of the squared error.

    Attributes:
        momentum: Of SGD, as is `nesterov`; 0 and False with AdamW.
        beta1: Of AdamW, as are `beta2` and `eps`; at their defaults with SGD.
        precision: Type of the factors of products in training (`tasks.training.precision`).
        augment: What each image of a batch goes through (`tasks.data.augment`).
        class_keep: For each class the share of its training images that is kept; () for all of them.
        label_noise: Share of the training labels that are replaced by another class.
        data_seed: Draws which images are kept and which labels are replaced: the same for all nets.
    """

    lr: float
    momentum: float
    nesterov: bool
    batch_size: int
    schedule: Schedule
    regularizer: Regularizer
    reg_weight: float
    loss: Loss = "cross_entropy"
    optimizer: Optimizer = "sgd"
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    precision: Precision = "float32"
    augment: Augment = "none"
    class_keep: tuple[float, ...] = ()
    label_noise: float = 0.0
    data_seed: int = 0
    reg_biases: bool = False


@dataclass(frozen=True)
class Tuning:
    """What a study chose for a recipe: the chosen `fields` of the recipe, and `base`, the recipe before.

    All widths of a setting have the same base, which shows that they belong together.
    """

    fields: tuple[str, ...]
    base: Recipe


@dataclass(frozen=True)
class NetSpec:
    """One trained network.

    `seed` (with the width) draws the initial weights, `order` names the stream that draws the order of
    the training images: `()` for the one that all nets share. `parametrization` is told in
    `tasks.networks.parametrization`; `ntk` and `mup` are sp at `base_width`, and `richness` is that of
    `mean_field`. `tuning` says where the recipe comes from. It is part of no key: a net is the same whoever
    chose its recipe.
    """

    family: str
    architecture: Architecture
    width: int
    parametrization: Parametrization
    init: Init
    recipe: Recipe
    data: DataSpec
    seed: int
    order: tuple[int, ...]
    base_width: int = 1
    richness: float = 1.0
    tuning: Tuning | None = None


@dataclass(frozen=True)
class Snapshot:
    """A net at an epoch, with its own content key and that of the net."""

    key: str
    net_key: str
    net: NetSpec
    epoch: int


@dataclass(frozen=True)
class TrainSegment:
    """Train `snapshot.net` from epoch `start` to `snapshot.epoch`.

    `start` None begins at the initial weights. `keep_state` also returns the optimizer's state,
    from which the next segment goes on.
    """

    snapshot: Snapshot
    start: int | None
    keep_state: bool


@dataclass(frozen=True)
class TrialSegment:
    """Train the `nets` of a trial, which differ in their seeds, from epoch `start` to `epoch`.

    A share `validation` of the training images is held back, drawn by the random stream of `split`. The nets
    learn from the others and are evaluated on those held back. The test images are not used.
    """

    nets: tuple[NetSpec, ...]
    start: int
    epoch: int
    validation: float
    split: int


@dataclass(frozen=True)
class TrainGroup:
    """Segments of nets that differ in seed, order and epochs alone, trained by one job."""

    segments: tuple[TrainSegment, ...]


@dataclass(frozen=True)
class Probe:
    """Measure which way trains nets such as `net` fastest, with up to `nets` of them together.

    `step_flops` are the operations of one net's step, `last_batch` is the number of images in an epoch's last
    batch if that is not whole.
    """

    net: NetSpec
    nets: int
    step_flops: float
    last_batch: int = 0


Layout = Literal["contiguous", "channels_last"]
"""How maps and weights lie in memory: channels first or last."""


Kernels = Literal["auto", "off"]
"""Whether training and grafts may use compiled kernels; `auto` uses them where they can be loaded."""


@dataclass(frozen=True)
class TrainMode:
    """How nets are trained: together as one, or one after another; how maps lie in memory.

    `compiled`: some layers are computed by compiled kernels (`tasks.kernels.compiled`). The mode changes
    results by rounding alone, and is not part of a net's identity.
    """

    grouped: bool = False
    layout: Layout = "contiguous"
    compiled: bool = False

    @property
    def name(self) -> str:
        """Such as `grouped channels_last` or `loop channels_last compiled`."""
        kind = "grouped" if self.grouped else "loop"
        return f"{kind} {self.layout}{' compiled' * self.compiled}"

    def of(self, nets: int) -> str:
        """With the number of nets that are trained together, such as `grouped channels_last x8`."""
        return f"{self.name} x{nets}"


@dataclass(frozen=True)
class BitsTest:
    """Test whether a way of training, up to `nets` together by `mode`, keeps bits on the machine of a worker.

    `tested` are the conditions (`tasks.training.bit_company`) under which the answer is known.
    """

    probe: Probe
    mode: TrainMode
    nets: int
    tested: tuple[str, ...] = ()


ALONE = TrainMode()
"""One net after another, channels first: the default, as in sweeps from before there were other ways."""

COMPILED = TrainMode(layout="channels_last", compiled=True)
"""The one way with compiled kernels."""


@dataclass(frozen=True)
class GraftOptions:
    """The options of the method that change the numbers (docs/method.md, section 2).

    `products` is the type in which a wide conv's products are taken; their sums are float64 always.
    `statistics` are those of BN at the cut and above: grafts without such a BN have one row in any case.
    `skips` says how many layers are left out below the fitted one, 0 for none. `augment` says what the
    training images go through before a layer is fitted on them.
    `adam_*` belong to the method `adam`: its learning rate, and epochs of so many batches of 64. `ridges`
    are tried instead of `ridge`, and that share of the training images is held back for the choice.
    `error_blocks` keeps what each block of held-out images adds to an error; no other number depends on it.
    """

    ridge: float = 0.0
    products: Literal["float32", "float64"] = "float32"
    methods: tuple[Method, ...] = ("exact",)
    statistics: tuple[Statistics, ...] = STATISTICS
    skips: tuple[int, ...] = (0,)
    adam_lr: float = 1e-3
    adam_epochs: int = 6
    adam_batches: int = 780
    ridges: tuple[float, ...] = ()
    validation: float = 0.2
    augment: Augment = "none"
    error_blocks: bool = False

    def validation_images(self, images: int) -> int:
        """How many of the training images are held back to choose the ridge: none without a choice."""
        return round(self.validation * images) if self.ridges else 0


WIDE = 32
"""Input channels from which a conv's products are float32: each direction counts for more in a narrow one."""


def in_float32(products: Literal["float32", "float64"], channels: int) -> bool:
    """Whether a conv that reads so many channels takes its products in float32."""
    return products == "float32" and channels >= WIDE


@dataclass(frozen=True)
class Pair:
    """Graft `source` (bottom) into `target` (top); both are indices into a tile's snapshots."""

    key: str
    source: int
    target: int
    null: str = "none"


@dataclass(frozen=True)
class AtOnce:
    """How a tile bounds its memory: layers fitted, and targets of them, in one pass over the images.

    0 stands for all. It changes no row, and so is part of no key.
    """

    layers: int = 0
    targets: int = 0


@dataclass(frozen=True)
class GraftTile:
    """Some pairs that share nets, computed together: all layers of each pair."""

    snapshots: tuple[Snapshot, ...]
    pairs: Sequence[Pair]
    options: GraftOptions


@dataclass(frozen=True)
class HybridTile:
    """Some pairs whose hybrids are made by one job: a share p of `source`'s channels, 1 - p of `target`'s.

    Of `options` a hybrid reads `ridge` and `products`; it reads no pair's `null`.
    """

    snapshots: tuple[Snapshot, ...]
    pairs: tuple[Pair, ...]
    shares: tuple[float, ...]
    options: GraftOptions


@dataclass(frozen=True)
class BarrierOptions:
    """How the straight path between two nets is measured (docs/method.md, section 2).

    `points` are evenly spaced and have both ends among them. `images` training images are what channels are
    matched and statistics are taken on, and of what the losses are; all where there are fewer.
    """

    matchings: tuple[Matching, ...] = MATCHINGS
    corrections: tuple[Correction, ...] = CORRECTIONS
    points: int = 25
    images: int = 1000


@dataclass(frozen=True)
class BarrierPair:
    """The path from the first of `snapshots` to the second; a third one closes the cycle of matchings."""

    key: str
    snapshots: tuple[Snapshot, ...]
    options: BarrierOptions


@dataclass(frozen=True)
class Pool:
    """Nets whose channels are dealt anew into groups that serve `target`: indices into a tile's snapshots.

    `pooled` deals those of `sources` alone, nets of the target's width; `wider_subset` those of `sources` and
    of a subset from each of as many `wide` nets.
    """

    key: str
    target: int
    sources: tuple[int, ...]
    null: PoolNull
    wide: tuple[int, ...] = ()


@dataclass(frozen=True)
class PoolTile:
    """Some pools that share nets, computed together; `partitions` random ones are drawn for each."""

    snapshots: tuple[Snapshot, ...]
    pools: tuple[Pool, ...]
    options: GraftOptions
    partitions: int = 19


@dataclass(frozen=True)
class Comparison:
    """Two snapshots of a tile, `left` < `right`, and the measures that compare them, with a key for each."""

    left: int
    right: int
    keys: Mapping[str, str]


@dataclass(frozen=True)
class SimilarityTile:
    """Some pairs of snapshots that share nets, compared at every layer without a fit.

    `images` held-out images (and as many training images, for what is fitted on them) are looked at;
    `permutations` are those of each null.
    """

    snapshots: tuple[Snapshot, ...]
    pairs: tuple[Comparison, ...]
    images: int
    permutations: int


@dataclass(frozen=True)
class Measurement:
    """One result of a measure: the snapshots that it is made from, and numbers or words that say how."""

    key: str
    snapshots: tuple[Snapshot, ...]
    settings: Mapping[str, int | float | str] = field(default_factory=dict[str, "int | float | str"])

    @property
    def reads(self) -> tuple[Snapshot, ...]:
        """All of its snapshots."""
        return self.snapshots


_BLOB, _STATE = ".safetensors", ".resume.safetensors"


def blob_name(key: str) -> str:
    """File of a snapshot, by its key."""
    return f"{key}{_BLOB}"


def state_name(key: str) -> str:
    """File of the optimizer's state at a snapshot, by its key."""
    return f"{key}{_STATE}"


def is_state(name: str) -> bool:
    """Whether a file of that name is an optimizer's state."""
    return name.endswith(_STATE)


def key_of(name: str) -> str:
    """The key in the name of a snapshot's file, or of a state's.

    >>> key_of(blob_name("k")) == key_of(state_name("k")) == "k"
    True
    """
    return name.removesuffix(_STATE if is_state(name) else _BLOB)


def segments_of(payload: object) -> tuple[TrainSegment, ...]:
    """The segments of a training job; none of another."""
    if isinstance(payload, TrainSegment):
        return (payload,)
    return payload.segments if isinstance(payload, TrainGroup) else ()


def mode_of(where: Mapping[str, Any]) -> TrainMode:
    """The mode of training that a job was given."""
    return TrainMode(*where.get("train_mode", ()))


def layer_name(architecture: Architecture, layer: int) -> str:
    """The kind of layer `layer` (from 1) and its number among its kind, as in `conv3`.

    >>> net = Architecture((1, 8, 8), (Layer("conv", 4, 3, 1), Layer("dense", 10)))
    >>> [layer_name(net, layer) for layer in (1, 2)]
    ['conv1', 'dense1']
    """
    kind = architecture.layers[layer - 1].kind
    number = sum(other.kind == kind for other in architecture.layers[:layer])
    return f"{kind}{number}"
