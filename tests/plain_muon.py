"""Muon as its author writes it, matrix by matrix, in NumPy and fp64."""

import numpy as np
import torch

from firth.train.muon import rows_of


def quintic(matrix: np.ndarray) -> np.ndarray:
    """(O, I) -> (O, I), nearly orthogonal."""
    x = matrix / max(np.sqrt((matrix**2).sum()), 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.775 * a + 2.0315 * a @ a) @ x
    return x


class PlainMuon:
    """pairs: (parameter, learning rate). Several maps in one matrix are matrices of their own."""

    def __init__(self, pairs, module, decay):
        rows = rows_of(module)
        self.decay = decay
        self.pieces = [(p, lr, first, last) for p, lr in pairs for first, last in bounds(rows.get(id(p), p.shape[:1]))]
        self.momenta = [np.zeros((last - first, p.shape[1])) for p, _, first, last in self.pieces]

    def step(self):
        for number, (parameter, lr, first, last) in enumerate(self.pieces):
            gradient = parameter.grad[first:last].double().numpy()
            momentum = self.momenta[number] = 0.95 * self.momenta[number] + 0.05 * gradient
            update = quintic(0.05 * gradient + 0.95 * momentum)
            rate = lr * np.sqrt(max(1, gradient.shape[0] / gradient.shape[1]))
            with torch.no_grad():
                weight = parameter[first:last].double().numpy()
                parameter[first:last] = torch.from_numpy(weight * (1 - lr * self.decay) - rate * update)


def bounds(rows):
    ends = np.cumsum(rows).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))
