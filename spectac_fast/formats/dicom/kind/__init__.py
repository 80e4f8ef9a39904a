"""What an NM object is and is not: which class and Image Type (`objects`), how many slices and whether it repeats them
(`frames`), and what was injected and counted (`tracer`). Each says its finding in a sentence or refuses in one.
"""
