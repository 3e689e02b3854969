"""What to measure on a network of blocks: functions of its blocks, heads and features, no hooks."""

from .accuracy import block_accuracy, eval_mode, evaluate
from .ema import ema_distance
from .flops import checkpointed_flops, flops
from .gradients import gradient_cosine
from .memory import SavedBytes, best_checkpoints, checkpointed_bytes, cuda_peak, layer_bytes, saved_bytes
from .probe import block_features, linear_probe, probe_accuracy
from .similarity import MinibatchCKA, block_cka, cka, cka_matrix

__all__ = [
    "MinibatchCKA",
    "SavedBytes",
    "best_checkpoints",
    "block_accuracy",
    "block_cka",
    "block_features",
    "checkpointed_bytes",
    "checkpointed_flops",
    "cka",
    "cka_matrix",
    "cuda_peak",
    "ema_distance",
    "eval_mode",
    "evaluate",
    "flops",
    "gradient_cosine",
    "layer_bytes",
    "linear_probe",
    "probe_accuracy",
    "saved_bytes",
]
