"""What to measure on a network of blocks: functions of its blocks, heads and features, no hooks."""

from .accuracy import block_accuracy, eval_mode, evaluate
from .ema import ema_distance
from .flops import checkpointed_flops, flops
from .gradients import gradient_cosine
from .lda import block_sums, lda, lda_accuracy, redundancy
from .memory import SavedBytes, best_checkpoints, checkpointed_bytes, kept_bytes, layer_bytes, saved_bytes
from .probe import block_features, linear_probe, probe_accuracy
from .similarity import block_cka, cka, minibatch_cka

__all__ = [
    "SavedBytes",
    "best_checkpoints",
    "block_accuracy",
    "block_cka",
    "block_features",
    "block_sums",
    "checkpointed_bytes",
    "checkpointed_flops",
    "cka",
    "ema_distance",
    "eval_mode",
    "evaluate",
    "flops",
    "gradient_cosine",
    "kept_bytes",
    "layer_bytes",
    "lda",
    "lda_accuracy",
    "linear_probe",
    "minibatch_cka",
    "probe_accuracy",
    "redundancy",
    "saved_bytes",
]
