"""What `from mankit import ...` gives, and where it lives: read by __init__.py and by editors."""

from .blocks import LocalNet as LocalNet
from .blocks import cut as cut
from .heads import Head as Head
from .images import Data as Data
from .images import Split as Split
from .images import batches as batches
from .images import load as load
from .measure import block_accuracy as block_accuracy
from .measure import block_cka as block_cka
from .measure import evaluate as evaluate
from .measure import probe_accuracy as probe_accuracy
from .measure import saved_bytes as saved_bytes
from .networks import build_network as build_network
from .networks import cifar_resnet as cifar_resnet
from .networks import imagenet_resnet as imagenet_resnet
from .networks import small_resnet as small_resnet
from .rules import RULES as RULES
from .rules import local_net as local_net
from .training import Step as Step
from .training import cosine as cosine
from .training import local_step as local_step
from .training import make_optimizer as make_optimizer
from .training import train as train
