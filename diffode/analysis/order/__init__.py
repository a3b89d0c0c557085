"""The order of a step rule, proved from the outside.

`trees`, `systems` and `jets` are the test problems, `proof` compares; `stiff`, `weak` and `strong` are other orders.
"""
