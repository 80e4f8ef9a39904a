"""SSIM, PSNR and RMSE of slices as one torchmetrics metric: pip install 'spectac_fast[torchmetrics]'."""

import torch

from spectac_fast.integrations.torchmetrics import SliceMetrics

metric = SliceMetrics(data_range=2.0)
for _ in range(3):  # batches of any size; seven sums are all that is kept
    ac = torch.rand(8, 1, 64, 64) * 2 - 1
    metric.update((ac + 0.1 * torch.randn_like(ac)).clamp(-1, 1), ac)
print(", ".join(f"{name} {float(value):.2f}" for name, value in metric.compute().items()))
