"""Fused operators, a page each: schema, documentation, a reference in plain torch, samples; C++, CUDA and Triton
only implement it. Imports `kernels` and what registers an operator (`_op`, `_native`), nothing else of the package.
A newcomer who adds an operator writes its page here and its line below; tests and benchmarks find it by its folder.
"""

from spectac_fast.ops._views import ViewTables, view_tables
from spectac_fast.ops.backproject import attenuation_gradient, backproject
from spectac_fast.ops.bridge_add_noise import bridge_add_noise
from spectac_fast.ops.counter_normal import SAMPLING, TRAINING, counter_normal, counter_words
from spectac_fast.ops.group_norm_silu import ACTIVATIONS, group_norm_silu, instance_norm
from spectac_fast.ops.project import photon_survival, project
from spectac_fast.ops.sampler_step import sampler_step
from spectac_fast.ops.slice_metrics import slice_metrics
from spectac_fast.ops.ssim_loss import ssim_loss
from spectac_fast.ops.vq_nearest import vq_nearest
from spectac_fast.ops.window_counts import unwindow_counts, window_counts

__all__ = [
    "ACTIVATIONS",
    "SAMPLING",
    "TRAINING",
    "ViewTables",
    "attenuation_gradient",
    "backproject",
    "bridge_add_noise",
    "counter_normal",
    "counter_words",
    "group_norm_silu",
    "instance_norm",
    "photon_survival",
    "project",
    "sampler_step",
    "slice_metrics",
    "ssim_loss",
    "unwindow_counts",
    "view_tables",
    "vq_nearest",
    "window_counts",
]
