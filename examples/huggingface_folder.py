"""A model as a folder of the Hugging Face kind, and back: pip install 'spectac_fast[huggingface]'."""

import tempfile

import torch

import spectac_fast as sf
from spectac_fast.integrations.huggingface import PretrainedTranslator

with tempfile.TemporaryDirectory() as folder:
    PretrainedTranslator("bbdm").save_pretrained(folder)  # model.safetensors, config.json, README.md
    model = PretrainedTranslator.from_pretrained(folder)
    ac = model.translate(torch.rand(2, 1, 64, 64) * 2 - 1)
    print(f"{model.name}, ac {tuple(ac.shape)}, same file: {sf.load(folder).weights_sha256 == model.weights_sha256}")
