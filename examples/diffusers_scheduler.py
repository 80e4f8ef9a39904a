"""A sampling loop of diffusers over a Brownian bridge: pip install 'spectac_fast[diffusers]'."""

import torch

from spectac_fast.integrations.diffusers import BrownianBridgeScheduler

network = torch.nn.Conv2d(2, 1, 3, padding=1)  # stands for your UNet2DModel: it predicts x_t - x_0
scheduler = BrownianBridgeScheduler(max_var=0.05, prediction_type="grad", solver_type="dbim")
scheduler.set_timesteps(6)
x = nc = torch.rand(2, 1, 64, 64) * 2 - 1  # a bridge starts from its condition
with torch.no_grad():
    for t in scheduler.timesteps:
        x = scheduler.step(network(torch.cat([x, nc], dim=1)), t, x).prev_sample
print(f"{scheduler.num_inference_steps} evaluations, ac {tuple(x.shape)}")
