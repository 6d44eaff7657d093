"""Measures of likeness between what a student says and what a network did, one family a file, numpy only.

Counts are spikes per bin, (repeat, time) for one cell and (repeat, time, cell) for several; predictions are expected counts per
bin, never rates in hertz. No measure knows the width of a bin unless it is told: state it beside every number. What is
undefined (a silent cell, one repeat, a stimulus that explains nothing) is NaN, and a `PerCell` counts how many were.
"""
