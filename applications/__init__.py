"""The recipes and studies of keras-njet, their data sets, cards and results: `python -m applications.study --help`.

They are run from the root of a clone, and are not part of the installed package.
"""
