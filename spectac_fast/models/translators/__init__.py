"""What translators share: fitting slices to a network and back, batches, sampling options. They import `engine` and
what stands beside these folders, never a method. A new kind of answer (not one image, not samples) would be a base
class here.
"""
