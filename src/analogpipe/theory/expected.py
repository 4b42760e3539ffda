"""Expected error of SGD on a least-squares problem, to leading order in the step: no bound, no fit.

The model is linear, so the delayed iteration can be followed in the mean and in the response to the
noise of each update. What is approximate: the noise of an analog update is taken at the point
where pull and gradient balance, with the pull linearised there. docs/theory.md derives it.
Torch-free.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import erf

from analogpipe.theory.bounds import DIGITAL, Constants, Floats, Linear

_SETTLED = 1e-12


def mean_size(mean: Floats, sigma: float) -> Floats:
    """E|z| of a normal z."""
    z = mean / (sigma * np.sqrt(2))
    size: Floats = sigma * np.sqrt(2 / np.pi) * np.exp(-(z**2)) + mean * erf(z)
    return size


def activity(problem: Constants, weights: Floats, sigma: float) -> Floats:
    """Mean of |x_j| E|e| over the samples of the design, (rows, d): pulses per unit of step."""
    residual = (weights - problem.minimisers) @ problem.inputs.T
    sizes = mean_size(residual, sigma)
    found: Floats = sizes @ np.abs(problem.inputs) / len(problem.inputs)
    return found


def balance(problem: Constants, device: Linear, sigma: float, sign: float = 1.0) -> Floats:
    """Weights (rows, d) at which gradient and pull to the symmetric point cancel.

    ``H (w - w*) + E[A](w) w / tau = 0``. ``sign`` -1 turns the pull into a push (a planted error).
    """
    w: Floats = problem.minimisers
    hessian = problem.hessian
    for _ in range(1000):
        pull = sign * activity(problem, w, sigma) / device.tau
        system = hessian[None] + pull[:, :, None] * np.eye(hessian.shape[0])
        target = (problem.minimisers @ hessian)[:, :, None]
        found = np.asarray(np.linalg.solve(system, target)[:, :, 0], dtype=np.float64)
        if np.abs(found - w).max() < _SETTLED:
            break
        w = (w + found) / 2 if sign < 0 else found
    return w


class Expected:
    """Expected squared gradient norm along a run with constant step.

    Args:
        problem: rows of equal statistics.
        device: of the arrays.
        step: of an update.
        delays: updates between forward and update for each block; the blocks share the weights
            equally, in order.
        mini_batch: micro-batches per update.
    """

    def __init__(
        self,
        problem: Constants,
        device: Linear = DIGITAL,
        *,
        step: float,
        delays: Sequence[int] = (0,),
        mini_batch: int = 1,
        sign: float = 1.0,
    ) -> None:
        self.problem, self.device, self.step, self.sign = problem, device, step, sign
        size = len(problem.hessian)
        self.delays = np.repeat(np.asarray(delays), size // len(delays))
        self._columns = [(int(d), np.flatnonzero(self.delays == d)) for d in np.unique(self.delays)]
        self.residual = problem.sigma
        self._mini_batch = mini_batch
        for _ in range(2):  # the weights' own noise widens the residuals a little
            self.fixed = balance(problem, device, self.residual, sign)
            response = self._impulse()
            noise = response @ np.linalg.cholesky(self._covariance())
            spread = ((problem.inputs @ noise) ** 2).sum() / len(problem.inputs)
            self.residual = float(np.sqrt(problem.sigma**2 + spread))
        noise = response @ np.linalg.cholesky(self._covariance())
        self._noise = ((problem.hessian @ noise) ** 2).sum((1, 2))

    def _covariance(self) -> Floats:
        """Covariance of the noise of an update, (d, d), at the balance."""
        x, sigma, n = self.problem.inputs, self.residual, self._mini_batch
        saturation = (
            np.zeros(x.shape[1])
            if np.isinf(self.device.tau)
            else ((self.fixed / self.device.tau) ** 2).mean(0)
        )
        count = len(x) ** 2 * n
        noise = x.T @ x + np.diag((x**2).sum(0) * saturation * (1 - 2 / np.pi))
        covariance: Floats = (self.step * self.problem.sigma) ** 2 * noise / count
        if self.device.dw_min:
            pulses = activity(self.problem, self.fixed, sigma).mean(0)
            each = self.device.dw_min * (1 + self.device.dw_min_std**2) * (1 + saturation)
            covariance += np.diag(self.step * pulses * each)
        return covariance

    def _impulse(self) -> Floats:
        """Response of the weights to a unit change of each, (updates, d, d), until it has faded."""
        hessian = self.problem.hessian
        pull = self.sign * activity(self.problem, self.fixed, self.residual).mean(0)
        pull = pull / self.device.tau
        past = [np.eye(len(hessian))]
        longest = int(self.delays.max())
        while len(past) < 10 * (longest + 1) or np.abs(past[-1]).max() > 1e-4:
            seen = past[-1]
            if longest:
                seen = np.zeros_like(hessian)
                for delay, here in self._columns:
                    if delay < len(past):
                        seen[here] = past[-1 - delay][here]
            past.append(past[-1] - self.step * (hessian @ seen + pull[:, None] * past[-1]))
            if len(past) > 200_000 or np.abs(past[-1]).max() > 1e3:
                raise ValueError(f"step {self.step:g} is unstable with delay {longest}")
        return np.stack(past)

    def means(self, updates: int) -> Floats:
        """Squared norm of the expected gradient at each update, mean over rows."""
        problem, tau = self.problem, self.device.tau
        history = [np.zeros_like(problem.minimisers)]
        sizes = np.empty(updates)
        w = history[0]
        for k in range(updates):
            sizes[k] = (((w - problem.minimisers) @ problem.hessian) ** 2).sum(1).mean()
            seen = w.copy()
            for delay, here in self._columns:
                seen[:, here] = history[max(0, len(history) - 1 - delay)][:, here]
            change = (seen - problem.minimisers) @ problem.hessian
            if not np.isinf(tau):
                change = change + self.sign * activity(problem, seen, self.residual) * w / tau
            w = w - self.step * change
            history.append(w)
            history = history[-int(self.delays.max()) - 1 :] if k >= self.delays.max() else history
        return sizes

    def error(self, updates: int) -> float:
        """Mean over the updates of the expected squared gradient norm, from w = 0."""
        faded = np.zeros(updates)
        shown = self._noise[: updates - 1]
        faded[1 : len(shown) + 1] = shown
        return float((self.means(updates) + np.cumsum(faded)).mean())

    def floor(self) -> float:
        """What remains after the transient."""
        away = (self.fixed - self.problem.minimisers) @ self.problem.hessian
        return float((away**2).sum(1).mean() + self._noise.sum())


def asymptotic(problem: Constants, device: Linear) -> Floats:
    """Error floor of each row that no step removes: bias by the pull, granularity of the pulses.

    The bias depends on the signs of w*, so rows differ; the granularity is their mean.
    """
    small = 5e-3
    runs = [Expected(problem, device, step=step) for step in (small, 2 * small)]
    away = (runs[0].fixed - problem.minimisers) @ problem.hessian
    bias: Floats = (away**2).sum(1)
    floors: Floats = bias - bias.mean() + 2 * runs[0].floor() - runs[1].floor()
    return floors
