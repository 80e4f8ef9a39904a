"""Methods: one published method a file, from its module over its translator to `build`, which a weight file asks
for. They import `networks`, `translators` and what stands beside these folders, and a method may build on another. A
new method is a file here and a line in `names.BUILDERS`; model.md in docs leads through it.
"""
