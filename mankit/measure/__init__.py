"""What to measure on a network of blocks: functions of its blocks, heads and features, no hooks."""

from .accuracy import block_accuracy, eval_mode, evaluate
from .ema import ema_distance
from .flops import checkpointed_flops, flops
from .gradients import gradient_cosine
from .memory import SavedBytes, best_checkpoints, checkpointed_bytes, layer_bytes, saved_bytes
from .probe import block_features, linear_probe, probe_accuracy
from .similarity import block_cka, cka, minibatch_cka

__all__ = ["block_accuracy", "block_cka", "block_features", "cka", "ema_distance", "eval_mode", "evaluate"]
__all__ += ["gradient_cosine", "linear_probe", "minibatch_cka", "probe_accuracy"]
__all__ += ["SavedBytes", "best_checkpoints", "checkpointed_bytes", "layer_bytes", "saved_bytes"]
__all__ += ["checkpointed_flops", "flops"]
