"""The shipped model as a MONAI bundle, loaded by MONAI: pip install 'spectac_fast[monai]'."""

import tempfile
from pathlib import Path

import monai.bundle

from spectac_fast.integrations.bundle import export_bundle

with tempfile.TemporaryDirectory() as folder:
    bundle = export_bundle("bbdm", Path(folder) / "bbdm64")
    network = monai.bundle.load(bundle.name, bundle_dir=folder, workflow_type="inference", device="cpu")
    print(f"{sum(p.numel() for p in network.parameters())} parameters in {sorted(p.name for p in bundle.iterdir())}")
