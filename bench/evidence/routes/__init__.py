"""Ways from projections to slices, side by side: without correction, by images, by physics, by a CT."""
