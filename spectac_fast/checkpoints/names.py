"""Names that files and networks share."""

# Of the latents that the published bridge was trained between, float32 [1, C, 1, 1].
STATISTICS = ("ori_latent_mean", "ori_latent_std", "cond_latent_mean", "cond_latent_std")
