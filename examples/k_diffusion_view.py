"""The bridge as a denoiser D(z, sigma), for samplers written for k-diffusion."""

from itertools import pairwise

import torch

import spectac_fast as sf

nc = torch.rand(2, 1, 64, 64) * 2 - 1
view = sf.KDiffusionBridge(lambda x, t, y: x - 0.7 * y, sf.BrownianBridge(max_var=0.05), nc)
sigmas = view.sigmas(8)
z = view.start(sigmas[0], torch.randn_like(nc))
for s, t in pairwise(sigmas):  # k_diffusion.sampling.sample_euler(view, z, sigmas)
    z = z + (z - view(z, s)) / s * (t - s)
print(f"ac {tuple(z.shape)}, from sigma {float(sigmas[0]):.1f} to {float(sigmas[-1]):.1f}")
