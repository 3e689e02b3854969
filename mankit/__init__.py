"""mankit: supervised local learning (back-propagation, DGL, InfoPro, MAN) to build, vary and measure."""

from .blocks import LocalNet, cut
from .heads import Head
from .images import Data, Split, batches, load
from .measure import block_accuracy, block_cka, evaluate, probe_accuracy, saved_bytes
from .networks import build_network, cifar_resnet, imagenet_resnet, small_resnet
from .recipes import LAB, Recipe, Run
from .records import Summary, read_run
from .rules import RULES, local_net
from .runs import open_run, train_in
from .tables import block_table, train_all
from .training import Step, cosine, local_step, make_optimizer, train

__all__ = [
    "LAB",
    "RULES",
    "Data",
    "Head",
    "LocalNet",
    "Recipe",
    "Run",
    "Split",
    "Step",
    "Summary",
    "batches",
    "block_accuracy",
    "block_cka",
    "block_table",
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
    "open_run",
    "probe_accuracy",
    "read_run",
    "saved_bytes",
    "small_resnet",
    "train",
    "train_all",
    "train_in",
]
