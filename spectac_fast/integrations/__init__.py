"""The bridge inside other libraries: diffusers, MONAI, torchmetrics, the Hugging Face hub's folders.

Each module needs the library it is named after and nothing more; importing one without it says which extra to install.
They import `diffusion`, `models`, `correct`, `checkpoints` and `ops`; a new host library is a thin module here.
"""
