"""Compiled CPU kernels behind one door: machine code that LLVM makes for this processor, through llvmlite.

May import `networks` and the rooms below it. Nothing outside imports a module of this room but the door,
`tasks.kernels.compiled`: start there, then read `compiled_network`.

What is taken, of float32 tensors on a CPU alone:

- 3x3 convs with stride 1 and a border of one zero, from and to multiples of 16 channels, whose maps are at
  most 64 tiles wide (256 positions, or 128 on maps with a side of 1 or 2), with the ReLU before them and the
  ReLU and 2x2 pooling after them (`tasks.kernels.winograd`).
- BN followed by a ReLU, and by 2x2 pooling of even maps, of a multiple of 4 channels and at least 4,096
  numbers an image, with no shortcut between (`tasks.kernels.fused_norm`).
- In grafts, such convs in use, compared with another map on the way (`tasks.kernels.compared_conv`), and
  their weight gradients for many pairs of maps at once (`tasks.kernels.cross_sums`).
- Steps of SGD with momentum, of tensors without gaps in memory (`tasks.kernels.sgd_kernel`).

What they promise:

- Shapes, parameters and types are PyTorch's. Maps come with channels last in memory.
- The function is the same but for rounding. Outputs and gradients of convs on tiles of 4 x 4 are off by 1e-6
  to 3e-6 of their norms, where PyTorch's are off by 2e-7 to 1e-6. A small output beside a number a thousand
  times as large has three digits less. NaN or infinity reaches the whole tile. A step of SGD is rounded in
  float32 as PyTorch's is, not always to the same bits; those of a number do not depend on where in its tensor
  it stands.
- Where all of a patch is zeros, a conv that is trained is exactly its bias, as PyTorch's is, so that a ReLU
  passes a gradient where PyTorch's does (`tasks.kernels.zero_patches`). Taps that only ever read the border
  have no gradient.
- Where numbers of a pooled square are equal but for rounding, because their patches are equal, any of them
  may get the gradient. Gradients of parameters do not change with that: equal patches give equal shares.
- The same input gives the same bits, from run to run and however training is cut at snapshots. In grafts, a
  pair's do not depend on other pairs.

A network comes back as it was if it is several nets in one, if its numbers are not float32 on a CPU, under
autocast, if the kernels are `off`, or if llvmlite cannot be loaded. A network that is taken leaves each layer
that the kernels do not know to PyTorch.

What they never do: change a key, a table or a checkpoint; compute in bfloat16, in float64 or on a GPU; start
threads; give second derivatives; give the features of single layers (a network that comes back faster answers
`logits` alone, with gradients only if BN is in training; one that is compared gives errors in their place).
"""
