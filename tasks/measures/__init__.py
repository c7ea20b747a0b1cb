"""Two nets' features compared without a fit: the measures of docs/method.md, section 6, and their nulls.

Pure functions of tensors. `LayerMatrices` takes the features of several nets at one layer, batch by batch,
and holds what all measures are made from; `compare` gives the values of all pairs, with permuted ones;
`layer_statistics` describes one net's layer, `seed_spread` all nets of one width together (section 7). May
import `mixing` and the rooms below it, not `jobs`. Start with `compare_layers`, then `layer_matrices`; a
measure is a function in one of the files that these import.
"""
