"""Checks of a reader's own answer: one module a lesson (backprop, dgl, infopro, man, study, family, barlow, recurrent,
unlocked).

A check takes the reader's function, tries it on small random inputs, and either says what is right or raises
`CheckFailed` with one sentence: what is wrong, and where to look. It also says what the function changed and should
have left alone (watch.py). For an answer not written yet it prints one line, and the lesson goes on.
"""
