"""mankit: supervised local learning (back-propagation, DGL, InfoPro, MAN) to build, vary and measure."""

from .blocks import LocalNet, cut
from .heads import Head
from .images import Data, Split, batches, load
from .measure import block_accuracy, block_cka, evaluate, probe_accuracy, saved_bytes
from .networks import build_network, cifar_resnet, imagenet_resnet, small_resnet
from .rules import RULES, local_net
from .training import Step, cosine, local_step, make_optimizer, train

__all__ = [
    "RULES",
    "Data",
    "Head",
    "LocalNet",
    "Split",
    "Step",
    "batches",
    "block_accuracy",
    "block_cka",
    "build_network",
    "cifar_resnet",
    "cosine",
    "cut",
    "evaluate",
    "imagenet_resnet",
    "load",
    "local_net",
    "local_step",
    "make_optimizer",
    "probe_accuracy",
    "saved_bytes",
    "small_resnet",
    "train",
]
