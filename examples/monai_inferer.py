"""The bridge as an inferer of MONAI, and MONAI's own inferer over it: pip install 'spectac_fast[monai]'."""

import torch
from monai.inferers import DiffusionInferer

import spectac_fast as sf
from spectac_fast.integrations.monai import BridgeInferer, BridgeScheduler

network = lambda x, timesteps, context=None: 0.5 * x[:, :1] - 0.3 * x[:, 1:]  # noqa: E731 - yours: DiffusionModelUNet
process, nc = sf.BrownianBridge(max_var=0.05), torch.rand(2, 1, 64, 64) * 2 - 1
ac = BridgeInferer(process, steps=6)(nc, network)  # what SupervisedEvaluator calls
theirs = DiffusionInferer(BridgeScheduler(process, 6)).sample(
    nc, network, conditioning=nc, mode="concat", verbose=False
)
print(f"ac {tuple(ac.shape)}, both loops the same: {torch.equal(ac, theirs)}")
