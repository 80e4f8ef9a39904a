"""A network of your own, eight samples of six evaluations each: torch is all it takes, and no DICOM."""

import torch

import spectac_fast as sf

network = torch.nn.Conv2d(2, 1, 3, padding=1)  # stands for yours: of (x_t, t, y) it predicts x_t - x_0
process = sf.BrownianBridge(num_timesteps=1000, max_var=0.05, objective="grad")
sampler = sf.BridgeSampler(lambda x, t, y: network(torch.cat([x, y], dim=1)), process, steps=6)
nc = torch.rand(3, 1, 64, 64) * 2 - 1  # any condition [B, C, H, W]
mean, std = sampler(nc, seeds=torch.tensor([7, 8, 9]), num_samples=8, reduce="mean_std")
print(f"mean {tuple(mean.shape)}, spread of the samples {float(std.mean()):.3f}")
