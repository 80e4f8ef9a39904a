"""What is done with cohorts, methods and checkpoints: phantom, train, fit, evaluate, import, export. See the folder
above.
"""
