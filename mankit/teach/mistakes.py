"""A known wrong answer to each exercise: its solution with a classic mistake. Grading asks for its refusal."""

from __future__ import annotations

MISTAKES = {
    # lesson 1
    "linear_backward": ("d_s.sum(dim=0)", "d_s.mean(dim=0)"),
    "relu_backward": ("h > 0", "h >= 0"),
    "net_backward": ("d_s /= len(x)", "d_s /= 1"),
    "mlp_kept_bytes": ("widths[:-1]", "widths"),
    "checkpoint_peak": ("kept + inside", "inside"),
    "best_segments": ("K * a + n // K * c", "K + n // K"),
    # lesson 2
    "block_sizes": ("i < extra", "i >= K - extra"),
    "pooled_head": ("nn.Flatten()", "nn.Flatten(), nn.ReLU()"),
    "small_head": ("nn.ReLU(), ", ""),
    "isolated_step": ("block(h.detach())", "block(h)"),
    "ridge_probe": ("alpha * eye", "len(h) * alpha * eye"),
    "linear_cka": (".norm() ** 2", ".norm()"),
    # lesson 3
    "reconstruction_loss": (".mean()", ".sum()"),
    "block_weight": ("(K - 2)", "(K - 1)"),
    "infopro_loss": ("head.lam_y * F", "F"),
    "local_losses": ("block(h.detach())", "block(h)"),
    "constant_image_error": ("x.mean(dim=0)", "x.mean()"),
    "contrastive_loss": ("masked_fill(itself, -math.inf).", ""),
    # lesson 4
    "ema_update": ("1 - decay)  #", "decay)  #"),
    "half_life": ("math.log(0.5) / math.log(decay)", "1 / (1 - decay)"),
    "ema_weights": ("decay**j for j", "decay**(steps - 1 - j) for j"),
    "look_ahead": ("learnable_bias(h) + ema(h)", "ema(learnable_bias(h))"),
    "man_local_step": ("block(h.detach())", "block(h)"),
    # lesson 5
    "own_rule": ("man.ema.requires_grad_(True)", "man.ema"),
    "auxiliary_parameters": ("net.heads[:-1]", "net.heads"),
    "paired_difference": ("ddof=1", "ddof=0"),
    "bootstrap_interval": ("[(1 - level) / 2, (1 + level) / 2]", "[1 - level, level]"),
    "compare": ("-margin < low and high < margin", "low < 0 < high"),
    "seeds_needed": (") ** 2", ")"),
    # lesson 6
    "head_depth": ("round(d - (d - 1) * r)", "int(d - (d - 1) * r)"),
    "sampled_layers": ("round(", "int("),
    "strides": ("debt -= paid[-1] - 1", "debt = 0"),
    "basis": ("torch.arange(length, dtype=torch.float64)", "torch.arange(1, length + 1, dtype=torch.float64)"),
    "lls_loss": ("    a = F.normalize(a, dim=1)\n", ""),
    "pareto_front": (" and b != a", ""),
    # lesson 7
    "cross_correlation": (" / len(a)", ""),
    "barlow_loss": ("itself - 1", "itself"),
    "two_view_step": ("torch.cat([block(view) for view in h.detach().chunk(2)])", "block(h.detach())"),
    "lda": (".sum(1) / 2", ".sum(1)"),
    # lesson 8
    "lstm_step": ("g.tanh()", "g.sigmoid()"),
    "reach": ("range(length - lag)", "range(length)"),
    "truncated_step": ("tuple(each.detach() for each in state)", "None"),
    "local_frames": ("repeat_interleave(", "repeat("),
    "kept_bytes": ("            seen[storage.data_ptr()] = storage\n", ""),
    # lesson 9
    "stage_step": ("    stage.send(h)\n", ""),
    "waiting": (" / span", ""),
    "speed_up": ("(slowest + (whole - slowest) / batches)", "slowest"),
    "begins": ("+ message", ""),
}
"""By the exercise's name: what stands once in its solution, and what the mistake puts there."""


def mistaken(name: str, solution: str) -> str:
    """The code of an exercise's solution with its known mistake. ValueError: the solution is another one now."""
    right, wrong = MISTAKES[name]
    if solution.count(right) != 1:
        raise ValueError(f"{name}: {right!r} stands {solution.count(right)} times in its solution: keep it there once")
    return solution.replace(right, wrong)
