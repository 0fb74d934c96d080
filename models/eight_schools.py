"""Eight schools: does coaching help? A hierarchy with a positive variable and data.

    mu ~ N(0, 5^2),   tau ~ HalfCauchy(5),   z_j ~ N(0, 1),   theta_j = mu + tau z_j,   y_j ~ N(theta_j, se_j^2)

The state is (mu, log tau, z): noise acts on log tau, people read tau and theta. The mode says tau = 0 or not,
depending on the coordinates it is taken in; the posterior does not care. Given tau all is Gaussian, so one integral
over log tau is exact. Data: Rubin (1981), Estimation in parallel randomized experiments, table 1.
"""

import numpy as np
import pymc as pm

SCHOOLS = ["A", "B", "C", "D", "E", "F", "G", "H"]
Y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
SE = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def prior() -> pm.Model:
    """The prior: ``mu``, ``tau``, ``z`` with dim ``school``, the Deterministic ``theta``, and the data ``y``."""
    with pm.Model(coords={"school": SCHOOLS}) as model:
        mu = pm.Normal("mu", 0.0, 5.0)
        tau = pm.HalfCauchy("tau", 5.0)
        z = pm.Normal("z", dims="school")
        theta = pm.Deterministic("theta", mu + tau * z, dims="school")
        pm.Normal("y", theta, SE, observed=Y, dims="school")
    return model


def exact(o=None, alpha=1.0, sigma=1.0):
    """Posterior means and variances of mu, log_tau, z and theta given y and o, and the log density of o given y.

    `o` is a mapping with ``mu``, ``tau`` (a noisy log tau) and ``z`` (8,); without it the answer is p0, that is p(x |
    y). For each log tau on a grid (mu, z) has a Gaussian posterior; the grid's weights are how well it predicts y and
    o.
    """
    # Below -25 tau is 0 for all purposes and its density falls as tau; above 12 the data exclude it.
    log_tau = np.linspace(-25.0, 12.0, 3701)
    cauchy = np.log(2 / (5 * np.pi)) - np.log1p(np.exp(2 * log_tau) / 25) + log_tau  # the last term is the Jacobian
    design = np.array([np.concatenate([np.ones((8, 1)), tau * np.eye(8)], axis=1) for tau in np.exp(log_tau)])
    log_joint, mean, covariance = _regression(design, Y, SE**2)
    log_joint = before = log_joint + cauchy
    if o is not None:
        # o adds nine rows to the regression, and one observation of log tau.
        identity = np.broadcast_to(alpha * np.eye(9), (len(log_tau), 9, 9))
        data = np.concatenate([Y, [o["mu"]], o["z"]])
        noise = np.concatenate([SE**2, np.full(9, float(sigma) ** 2)])
        log_joint, mean, covariance = _regression(np.concatenate([design, identity], axis=1), data, noise)
        log_joint = (
            log_joint + cauchy - 0.5 * ((o["tau"] - alpha * log_tau) / sigma) ** 2 - 0.5 * np.log(2 * np.pi * sigma**2)
        )
    log_evidence = np.logaddexp.reduce(log_joint)
    weights = np.exp(log_joint - log_evidence)

    variance = np.diagonal(covariance, axis1=1, axis2=2)
    theta_variance = np.einsum("gij,gjk,gik->gi", design, covariance, design)
    given_tau = {
        "mu": (mean[:, 0], variance[:, 0]),
        "log_tau": (log_tau, np.zeros_like(log_tau)),
        "z": (mean[:, 1:], variance[:, 1:]),
        "theta": (np.einsum("gij,gj->gi", design, mean), theta_variance),
    }
    answer = {"log_evidence": log_evidence - np.logaddexp.reduce(before)}
    for name, (means, variances) in given_tau.items():
        overall = np.tensordot(weights, means, 1)
        answer[name] = {"mean": overall, "variance": np.tensordot(weights, variances + (means - overall) ** 2, 1)}
    return answer


def _regression(design, data, noise):
    """log p(data), mean and covariance of (mu, z) ~ N(0, diag(25, 1, ...)), for each design (grid, rows, 9)."""
    prior_variance = np.array([25.0, *np.ones(8)])
    precision = np.diag(1 / prior_variance) + np.einsum("gri,r,grj->gij", design, 1 / noise, design)
    covariance = np.linalg.inv(precision)
    pull = np.einsum("gri,r->gi", design, data / noise)
    mean = np.einsum("gij,gj->gi", covariance, pull)
    log_density = -0.5 * (
        np.linalg.slogdet(precision)[1]
        + np.log(prior_variance).sum()
        + np.log(2 * np.pi * noise).sum()
        + data @ (data / noise)
        - np.einsum("gi,gi->g", pull, mean)
    )
    return log_density, mean, covariance
