"""Training networks that make attenuation maps: their slices (`slices`) and what is watched of them (`validation`)."""
