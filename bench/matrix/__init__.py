"""Checkpoints as published code writes them, in every configuration that matters, imported and run against a small
writing of the published modules that shares no line with the package: by the names of their tensors and by the options
of their own configuration files.
"""
