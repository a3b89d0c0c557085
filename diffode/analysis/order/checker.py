# pyright: basic, reportAttributeAccessIssue=false
"""Accept or reject an order proof: python checker.py FILE, as `diffode verify --proof FILE` writes it.

Let y′ = e^u D(y, u), one unknown per rooted tree, D_v = u^k (y_0 − 1)^m ∏ y_c. The file holds a method's table as
series in h modulo 2^61 − 1, on a process α(u), t(u) and steps (equal, or of random ratios that repeat) which
random.Random("name seed") draws. By Picard iteration and from the table come the exact and the numerical solution;
the order is the least k − (degree in the periods of their difference at h^k). Whether the table is the method's,
diffode says.
"""

import json
import sys
from itertools import pairwise
from math import factorial, prod
from operator import mul
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
        return Series([sum(map(mul, self.c[: m + 1], b.c[m::-1])) % P for m in range(self.n)])

    def into(self, jet):  # Σ jet_i (self)^i, for self = O(h)
        total = Series([])
        for c in jet[self.n :: -1]:
            total = total * self + Series([c])
        return total

    def inverse(self):
        lead = -pow(self.c[0], -1, P)
        return Series([0, *self.c[1:]]).into([-pow(lead, i + 1, P) % P for i in range(self.n)])


class Run:  # the table on its grid, computed again
    def __init__(self, run, name, highest):
        self.__dict__.update(run)
        random, past, free = Random(f"{name} {self.seed}"), self.past, len(self.states)
        jets = [random.randrange(1, P) for _ in self.alpha + self.time]
        drawn = [random.randrange(1, P) for _ in self.ratios[: self.period]] if self.spacing == "rough" else [1]
        steps = [drawn[k % len(drawn)] for k, _ in enumerate(self.ratios)]
        need(len(drawn) == self.period and (self.period > 2) == (self.spacing == "rough"), "another period of steps")
        need(self.alpha + self.time == jets and len(self.alpha) == len(self.time) > Series.n, "other jets are drawn")
        need(json.dumps(self.ratios) == json.dumps(steps) and len(steps) == past + free, "other steps are drawn")
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
            found.append((k, m, tuple(sorted(found[c] for c in children if c >= 0))))
        need(sorted(found) == sorted(trees), f"these are not all trees of order {highest}, each once")
        self.jets, self.registers, self.errors = self.picard(), {}, []
        for n, (out, how, *what) in enumerate(self.inputs + self.rows):
            fits = out not in self.registers and (how in ("exact", "given")) == (n < len(self.inputs))
            self.registers[out] = self.defined(how, *what) if fits else need(fits, f"register {out} is out of place")
        for name, u in zip(self.states, list(self.nodes.values())[past + 1 :], strict=False):
            pairs = zip(self.scaled(name, u), self.jets, strict=True)
            self.errors.append([(x + self.minus * u.into(jet)).c for x, jet in pairs])
        need(json.dumps(self.errors) == json.dumps(self.residuals), "the residuals are others")
        need(self.shifts or not any(any(step[-1]) for step in self.errors), "trees with δ-leaves are missing")
        need(free > 4 * self.period + sum(how == "given" for _, how, *_ in self.inputs), "too few steps are taken")

    def grown(self, k, m, children):  # a tree with one leaf more
        yield from [(k + 1, m, children), (k, m, tuple(sorted([*children, (0, 0, ())])))]
        yield from [(k, m + 1, children)] * self.shifts
        for i, child in enumerate(children):
            yield from ((k, m, tuple(sorted([*children[:i], g, *children[i + 1 :]]))) for g in self.grown(*child))

    def scaled(self, name, u):
        shrink = u.into(self.sigma).inverse()
        return [entry * shrink for entry in self.registers[name]]

    def data(self, y, u):
        factors = ([u] * k + [y[-1] + self.minus] * m + [y[c] for c in children] for k, m, children in self.trees)
        return [*(prod(f, start=self.one) for f in factors), self.zero]

    def picard(self):  # y ← ∫ e^u D(y, u) du until it stands
        y, jets, growth = [*[self.zero for _ in self.trees], self.one], [], Series([0, P - 1]).into(self.decay)
        while jets != [entry.c for entry in y]:
            jets = [entry.c for entry in y]
            slopes = [(d * growth).c[:-1] for d in self.data(y, Series([0, 1]))[:-1]]
            y = [*(Series([0, *(c * pow(n, -1, P) % P for n, c in enumerate(d, 1))]) for d in slopes), self.one]
        return jets

    def defined(self, how, what, where=-1, told=-1):
        if how == "given":
            return [Series(c) for c in what]
        if how == "combine":
            parts = [[Series(c) * x for x in self.registers[name]] for c, name in what]
            return [sum(entries, self.zero) for entries in zip(*parts, strict=True)]
        if how == "exact":
            u = need(what <= self.past, "an input lies ahead") or self.nodes[what]
            return [u.into(jet) * u.into(self.sigma) for jet in self.jets]
        y = self.scaled(what, self.nodes[where])
        need(how == "data" and (self.shifts or y[-1].c == self.one.c), "trees with δ-leaves are missing")
        return self.data(y, self.nodes[where if told < 0 else told])


def check(proof):
    highest, name = min(proof["highest"], 12), proof["solver"]
    Series.n = highest + 2
    run, order = Run(proof["run"], name, highest), highest
    first = next((k for k in range(highest + 2) if any(e[k] for step in run.errors for e in step)), highest + 1)
    for k in range(first, highest + 2):  # the growth of the error, looked at once in a period of the steps
        rows = list(zip(*([e[k] for e in step[:-1]] for step in run.errors[:: -run.period][::-1]), strict=True))
        degree = 0
        for m in (1, 2):  # if the m-th differences do not tend (Aitken) to 0
            rows = [[(y - x) % P for x, y in pairwise(row)] for row in rows]
            degree = m if any((a * c - b * b if (a - 2 * b + c) % P else c) % P for *_, a, b, c in rows) else degree
        order = min(order, k - degree)
    true = dict(proof, format=2, highest=highest, order=order, complete=order < highest)
    need(json.dumps(proof) == json.dumps(true) and len(proof) == 6, f"what it claims is not so: the order is {order}")
    more, chance = " or more" * (order == highest), len(run.trees) * (highest + 1) * 4 * Series.n**2 / P
    return f"{name} has order {order}{more} on {run.spacing} steps in {run.variable}; chance of error {chance:.0e}"


if __name__ == "__main__":
    code, result = 2, "cannot read a proof (python checker.py FILE)"
    try:
        content = json.loads(Path(sys.argv[1]).read_text("utf-8"))
        code, result = 1, "rejected"
        code, result = 0, f"accepted: {check(content)}"
    except Exception as problem:
        result += f": {problem!r}"
    sys.exit(print(result) or code)
