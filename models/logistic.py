"""Is a tumour malignant? Logistic regression on thirty measurements of 569 women.

    b_0 ~ N(0, 10^2),   b_j ~ N(0, 1),   y_i ~ Bernoulli(1 / (1 + exp(-(b_0 + sum_j z_ij b_j)))),   j = 1..30

One mode, 31 dimensions, columns that nearly repeat each other: an easy posterior, on which a sampler made for hard ones
should lose nothing. z are the columns, each to mean 0 and sd 1. Data: Street, Wolberg, Mangasarian (1993), Nuclear
feature extraction for breast tumor diagnosis, as scikit-learn has them.
"""

import pymc as pm


def prior() -> pm.Model:
    """The prior: ``intercept``, ``b`` with dim ``feature``, and the data ``malignant``."""
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as error:
        raise ImportError("models/logistic.py takes its data from scikit-learn: pip install scikit-learn") from error
    data = load_breast_cancer()
    z = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    malignant = (data.target == 0).astype(int)
    with pm.Model(coords={"feature": [str(name) for name in data.feature_names]}) as model:
        intercept = pm.Normal("intercept", 0.0, 10.0)
        b = pm.Normal("b", 0.0, 1.0, dims="feature")
        pm.Bernoulli("malignant", logit_p=intercept + z @ b, observed=malignant)
    return model
