"""Where PyTorch computes in this process: on one thread of a core, or on a GPU in full float32."""

from __future__ import annotations

import functools

import torch

from espalier.tasks.data.images import Folder
from espalier.tasks.data.tensors import Data, Loaded, load_warned
from espalier.tasks.networks.network import Network


class NoDevice(RuntimeError):
    """The requested device does not exist on this machine."""

    hopeless = True


def use(device: str) -> None:
    """One thread, so that bits do not depend on the machine's cores; on a GPU float32 rather than TF32.

    Raises:
        NoDevice: `cuda` where PyTorch finds no GPU.
    """
    torch.set_num_threads(1)
    if device == "cpu":
        return
    if not torch.cuda.is_available():
        raise NoDevice(
            f"device '{device}': PyTorch {torch.__version__} finds no GPU in this process; use device 'cpu', "
            "or install PyTorch for the GPU's driver"
        )
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.benchmark = False


@functools.lru_cache(maxsize=2)
def load_on(
    device: str,
    dataset: str,
    limit_train: int | None,
    limit_test: int | None,
    folder: Folder,
    content: str,
) -> Loaded:
    """The images on a device, moved there once a process; see `load_warned`."""
    loaded = load_warned(dataset, limit_train, limit_test, folder, content)
    return loaded._replace(data=Data(*(part.to(device) for part in loaded.data)))


def on(network: Network, device: str) -> Network:
    """A network whose parameters lie on a device."""
    return Network(
        network.architecture, {name: value.to(device) for name, value in network.parameters.items()}
    )
