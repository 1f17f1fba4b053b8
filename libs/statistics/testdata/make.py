"""Makes reference.json beside it: what scikit-learn, SciPy and Evidently compute.
pip install evidently==0.4.40 "numpy<2", then python make.py."""
import json, pathlib
import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp
from sklearn import metrics
from evidently.calculations.stattests.psi import _psi
from evidently.core import ColumnType

rng = np.random.default_rng(5)
out = {"classification": [], "regression": [], "psi": [], "counts": []}
for n, digits in [(50, 1), (400, 2), (1000, 8)]:
    p = np.round(rng.random(n), digits)
    y = (rng.random(n) < p).astype(int)
    out["classification"].append({"labels": y.tolist(), "scores": p.tolist(), "auc": metrics.roc_auc_score(y, p),
                                  "log_loss": metrics.log_loss(y, p), "brier": metrics.brier_score_loss(y, p),
                                  "accuracy": metrics.accuracy_score(y, p > 0.5)})
for n in [20, 300]:
    a = rng.normal(size=n)
    b = a + rng.normal(size=n) * 0.4
    out["regression"].append({"actual": a.tolist(), "predicted": b.tolist(), "rmse": float(np.sqrt(metrics.mean_squared_error(a, b))),
                              "mae": metrics.mean_absolute_error(a, b), "r2": metrics.r2_score(a, b)})
pairs = [(rng.normal(size=900), rng.normal(0.4, 1.2, size=700)), (rng.normal(size=3000), rng.normal(size=100)),
         (rng.exponential(size=400), rng.exponential(2, size=400)), (rng.integers(0, 6, 500).astype(float), rng.integers(0, 8, 300).astype(float)),
         (rng.integers(0, 2, 800).astype(float), np.ones(200)), (np.round(rng.normal(size=300), 1), np.round(rng.normal(3, 1, size=300), 1))]
for r, c in pairs:
    r, c = np.round(r, 6), np.round(c, 6)
    psi, _ = _psi(pd.Series(r), pd.Series(c), ColumnType.Numerical, 0.1)
    out["psi"].append({"reference": r.tolist(), "current": c.tolist(), "psi": float(psi), "ks": float(ks_2samp(r, c).statistic)})
for r, c in [([10, 20, 30], [30, 20, 10]), ([1, 0, 5], [0, 2, 5]), ([100000, 3, 0], [50000, 0, 9])]:
    out["counts"].append({"reference": r, "current": c, "js": float(jensenshannon(r, c, base=2))})
(pathlib.Path(__file__).parent / "reference.json").write_text(json.dumps(out))
