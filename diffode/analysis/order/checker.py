# pyright: basic, reportAttributeAccessIssue=false, reportOperatorIssue=false
"""Accept or reject an order proof: python checker.py FILE, as `diffode verify --proof FILE` writes it.

Let y′ = e^u D(y, u), one unknown per rooted tree, D_v = u^k (y_0 − 1)^m ∏ y_c. A file holds a method's table as series
in h modulo P; α(u), t(u) and steps are drawn. The order is the least k − (degree in the periods of the error at h^k).
"""

import json
import sys
from functools import reduce
from itertools import accumulate, zip_longest
from math import factorial, prod
from pathlib import Path
from random import Random

P = 2**61 - 1


def need(holds, reason):
    if not holds:
        raise ValueError(reason)


class Series:  # c_0 + c_1 h + … + O(h^n), with n = Series.n for all
    def __init__(self, c):
        need(len(c) <= self.n and all(type(x) is int and 0 <= x < P for x in c), "a series is not one of residues")
        self.c = [*c, *[0] * (self.n - len(c))]

    def __add__(self, b):
        return Series([(x + y) % P for x, y in zip(self.c, b.c, strict=True)])

    def __mul__(self, b):
        return Series([sum(map(int.__mul__, self.c[: m + 1], b.c[m::-1])) % P for m in range(self.n)])

    def into(self, jet):  # Σ jet_i (self)^i, for self = O(h)
        return reduce(lambda total, c: total * self + Series([c]), jet[self.n :: -1], Series([]))

    def inverse(self):
        return Series([0, *self.c[1:]]).into([(-1) ** i * pow(self.c[0], -i - 1, P) % P for i in range(self.n)])


class Run:  # the table on its grid, computed again
    def __init__(self, run, name, highest):
        self.__dict__.update(run)
        random, past, free = Random(f"{name} {self.seed}"), self.past, len(self.states)
        jets = [random.randrange(1, P) for _ in self.alpha + self.time]
        drawn = [random.randrange(1, P) for _ in self.ratios[: max(self.period, 3)]] if self.spacing == "rough" else [1]
        steps = [drawn[k % len(drawn)] for k, _ in enumerate(self.ratios)]
        need(repr([self.ratios, self.period, past + free]) == repr([steps, len(drawn), len(steps)]), "other steps")
        need(self.alpha + self.time == jets and len(self.alpha) == len(self.time) > Series.n, "other jets are drawn")
        self.zero, self.one, self.minus = Series([]), Series([1]), Series([P - 1])
        self.decay = [(-1) ** n * pow(factorial(n), -1, P) % P for n in range(Series.n)]
        bend = {"rough": 0, "uniform": 0, "smooth": pow(3, -1, P)}[self.spacing]
        self.nodes = dict(enumerate(map(Series, self.levels)))
        need(len(run) == 14 and not any(u.c[0] for u in self.nodes.values()), "a level does not tend to λ = 0")
        self.sigma = (Series(self.alpha[: Series.n]) * Series(self.decay)).c
        falling = {"rho": self.decay, "t": self.time, "sigma": self.sigma, "lam": [0, P - 1]}[self.variable]
        place = [u.into(falling) for u in self.nodes.values()]
        for k in range(past + free + 1):
            m = sum(steps[past:k]) - sum(steps[k:past])
            gap = place[k] + self.minus * place[past] + Series([0, m % P, m * m * bend % P])
            need(not any(gap.c), f"level {k} is not where its step ratio puts it")
        trees, found, self.shifts = {(0, 0, ())}, [], any(m for _, m, _ in self.trees)
        for _ in range(1, highest):
            trees |= {more for tree in trees for more in self.grown(*tree)}
        for k, m, children in self.trees:
            found.append((k, m, tuple(sorted(need(c >= 0, "a child is no tree") or found[c] for c in children))))
        need(sorted(found) == sorted(trees), f"these are not all trees of order {highest}, each once")
        self.jets, self.registers, self.errors = self.picard(), {}, []
        for n, (out, how, *what) in enumerate(self.inputs + self.rows):
            fits = out not in self.registers and (how in ("exact", "given")) == (n < len(self.inputs))
            self.registers[out] = self.defined(how, *what) if fits else need(fits, f"register {out} is out of place")
        for name, u in zip(self.states, list(self.nodes.values())[past + 1 :], strict=False):
            pairs = zip(self.scaled(name, u), self.jets, strict=True)
            self.errors.append([(x + self.minus * u.into(jet)).c for x, jet in pairs])
        need(repr(self.errors) == repr(self.residuals), "the residuals are others")
        need(self.shifts or not any(any(step[-1]) for step in self.errors), "trees with δ-leaves are missing")

    def grown(self, k, m, children):  # a tree with one leaf more
        leaf = (k, m, tuple(sorted([*children, (0, 0, ())])))
        yield from [(k + 1, m, children), leaf] + [(k, m + 1, children)] * self.shifts
        for i, child in enumerate(children):
            yield from ((k, m, tuple(sorted([*children[:i], g, *children[i + 1 :]]))) for g in self.grown(*child))

    def scaled(self, name, u):
        shrink = u.into(self.sigma).inverse()
        return [entry * shrink for entry in self.registers[name]]

    def data(self, y, u):
        factors = ([u] * k + [y[-1] + self.minus] * m + [y[c] for c in children] for k, m, children in self.trees)
        return [*(prod(f, start=self.one) for f in factors), self.zero]

    def picard(self):  # y ← ∫ e^u D(y, u) du until it stands
        y, growth = [*[self.zero for _ in self.trees], self.one], Series([0, P - 1]).into(self.decay)
        for _ in range(Series.n):
            slopes = [(d * growth).c[:-1] for d in self.data(y, Series([0, 1]))[:-1]]
            y = [*(Series([0, *(c * pow(n, -1, P) % P for n, c in enumerate(d, 1))]) for d in slopes), self.one]
        return [entry.c for entry in y]

    def defined(self, how, what, where=-1, told=-1):
        if how == "given":
            return [Series(c) for c in what]
        if how == "combine":
            parts = ([Series(c) * x for x in self.registers[name]] for c, name in what)
            return [sum(entries, self.zero) for entries in zip(*parts, strict=True)]
        if how == "exact":
            u = need(what <= self.past, "an input lies ahead") or self.nodes[what]
            return [u.into(jet) * u.into(self.sigma) for jet in self.jets]
        y = self.scaled(what, self.nodes[where])
        need(how == "data" and (self.shifts or y[-1].c == self.one.c), "trees with δ-leaves are missing")
        return self.data(y, self.nodes[where if told < 0 else told])


def degree(values):  # of the polynomial in Σ_j ρ_j^m q_j(m), by the shortest recurrence (Berlekamp, Massey)
    c, before, length, shift, last, roots = [1], [1], 0, 1, 1, 0
    for n in range(len(values)):
        if off := sum(a * values[n - i] for i, a in enumerate(c)) % P:
            old, pairs = c, zip_longest(c, [0] * shift + before, fillvalue=0)
            c = [(a - off * pow(last, -1, P) * b) % P for a, b in pairs]
            if 2 * length <= n:
                length, before, last, shift = n + 1 - length, old, off, 0
        shift += 1
    while not sum(c) % P:
        c, roots = [*accumulate(c)][:-1], roots + 1
    return None if 2 * length >= len(values) else max(roots - 1, 0)


def check(proof):
    Series.n = (highest := min(proof["highest"], 12)) + 2
    run, order = Run(proof["run"], proof["solver"], highest), highest
    first = next((k for k in range(highest + 2) if any(e[k] for step in run.errors for e in step)), highest + 1)
    for k in range(first, highest + 2):  # the growth of the error, looked at once in a period of the steps
        seen = ([e[k] for e in step[:-1]] for step in run.errors[:: -run.period][::-1])
        degrees = [degree(row) for row in zip(*seen, strict=True)]
        need(len(run.errors) > 4 * run.period and (k > first or None not in degrees), "too few steps are taken")
        order = order if None in degrees else min(order, *(k - grows for grows in degrees))
    true = dict(proof, format=2, highest=highest, order=order, complete=order < highest)
    need(repr(proof) == repr(true) and len(proof) == 6, f"what it claims is not so: the order is {order}")
    what = f"{proof['solver']} has order {order}{' or more' * (order == highest)} on {run.spacing} steps"
    return f"{what} in {run.variable}; chance of error {len(run.trees) * (highest + 1) * 4 * Series.n**2 / P:.0e}"


if __name__ == "__main__":
    code, result = 2, "cannot read a proof (python checker.py FILE)"
    try:
        content, code, result = json.loads(Path(sys.argv[1]).read_text("utf-8")), 1, "rejected"
        code, result = 0, f"accepted: {check(content)}"
    except Exception as problem:
        result += f": {problem!r}"
    sys.exit(print(result) or code)
