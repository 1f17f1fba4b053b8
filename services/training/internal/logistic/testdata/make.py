"""Makes sklearn.json beside it: rows and the coefficients that scikit-learn finds
for them. pip install numpy scikit-learn, then python make.py."""
import json, pathlib
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(11)
cases = []
for n, d, l2 in [(200, 2, 0.01), (500, 5, 0.1), (300, 4, 1e-4), (150, 3, 1.0)]:
    X = rng.normal(size=(n, d)) * rng.uniform(0.1, 50, d) + rng.uniform(-100, 100, d)
    Z = (X - X.mean(0)) / X.std(0)
    y = (rng.random(n) < 1 / (1 + np.exp(-(Z @ rng.normal(size=d) + 0.5)))).astype(int)
    scaler = StandardScaler().fit(X)
    m = LogisticRegression(C=1 / (n * l2), tol=1e-12, max_iter=100000, solver="newton-cholesky").fit(scaler.transform(X), y)
    cases.append({"l2": l2, "columns": X.T.tolist(), "labels": y.tolist(), "mean": scaler.mean_.tolist(), "scale": scaler.scale_.tolist(),
                  "weights": m.coef_[0].tolist(), "bias": float(m.intercept_[0])})
(pathlib.Path(__file__).parent / "sklearn.json").write_text(json.dumps(cases))
