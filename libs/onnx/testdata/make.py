"""Makes the models and expected scores beside it with scikit-learn, skl2onnx and
onnxruntime: pip install numpy scikit-learn skl2onnx onnxruntime onnx, then
python make.py. Each NAME.onnx has NAME.json: rows of input and onnxruntime's
scores (probability of the second class, or the regression's value)."""
import json, pathlib
import numpy as np
import onnx
from onnx import TensorProto, helper
import onnxruntime as rt
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (LinearRegression, LogisticRegression, PoissonRegressor, Ridge,
                                  SGDClassifier, Perceptron, LogisticRegressionCV, Lasso)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (Binarizer, MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler)
from sklearn.tree import DecisionTreeClassifier

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(7)
X = (rng.normal(size=(400, 4)) * [1, 10, 0.1, 3] + [0, 100, 0, -2]).astype(np.float32)
y = (X[:, 0] + 0.05 * (X[:, 1] - 100) + rng.normal(size=400) > 0.3).astype(int)
target = (2 * X[:, 0] - 0.3 * X[:, 1] + rng.normal(size=400)).astype(np.float32)
rows = X[:23]


def score(model):
    s = rt.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ins = s.get_inputs()
    if len(ins) == 1:
        feed = {ins[0].name: rows.astype(np.float64 if "double" in ins[0].type else np.float32)}
    else:
        feed = {i.name: rows[:, k:k + 1] for k, i in enumerate(ins)}
    outs = s.run(None, feed)
    last = outs[-1]
    if isinstance(last, list):
        return [float(list(r.values())[1]) for r in last]
    last = np.asarray(last, dtype=np.float64)
    return (last[:, 1] if last.ndim == 2 and last.shape[1] == 2 else last.reshape(-1)).tolist()


def save(name, model, inputs=None):
    (here / f"{name}.onnx").write_bytes(model.SerializeToString())
    expected = score(model)
    (here / f"{name}.json").write_text(json.dumps({"rows": rows.tolist(), "scores": expected}))
    print(name, [n.op_type for n in model.graph.node])


def fit(name, est, t=y, **kw):
    est.fit(kw.pop("fit_on", X), t)
    save(name, to_onnx(est, X[:1], **kw))


fit("logistic", LogisticRegression())
fit("logistic_scaled", make_pipeline(StandardScaler(), LogisticRegression()))
fit("logistic_nozipmap", make_pipeline(StandardScaler(), LogisticRegression()), options={"zipmap": False})
fit("logistic_strings", LogisticRegression(), np.where(y == 1, "late", "on_time"))
fit("logistic_robust", make_pipeline(RobustScaler(), MaxAbsScaler(), LogisticRegression()))
fit("logistic_minmax", make_pipeline(MinMaxScaler(clip=True), LogisticRegression()))
fit("logistic_normalizer", make_pipeline(Normalizer("l2"), LogisticRegression()))
fit("logistic_binarizer", make_pipeline(Binarizer(threshold=0.5), LogisticRegression()))
holes = X.copy()
holes[rng.random(X.shape) < 0.1] = np.nan
est = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()).fit(holes, y)
save("logistic_imputer", to_onnx(est, X[:1]))
est = make_pipeline(ColumnTransformer([("a", StandardScaler(), [0, 2]), ("b", MinMaxScaler(), [1, 3])]), LogisticRegression()).fit(X, y)
save("logistic_columns", to_onnx(est, X[:1]))
est = make_pipeline(ColumnTransformer([("a", StandardScaler(), [0, 2]), ("b", "passthrough", [1, 3])]), LogisticRegression()).fit(X, y)
save("logistic_inputs", to_onnx(est, initial_types=[(n, FloatTensorType([None, 1])) for n in "abcd"]))
fit("sgd", make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=1)))
fit("sgd_huber", make_pipeline(StandardScaler(), SGDClassifier(loss="modified_huber", random_state=1)))
fit("ridge", make_pipeline(StandardScaler(), Ridge()), target)
fit("linear", LinearRegression(), target)
fit("lasso", Lasso(alpha=0.01), target)
fit("poisson", make_pipeline(StandardScaler(), PoissonRegressor()), np.abs(target))
est = make_pipeline(StandardScaler(), LogisticRegression()).fit(X.astype(np.float64), y)
save("logistic_double", to_onnx(est, X[:1].astype(np.float64), options={"zipmap": False}))

# As deep-learning exporters write it.
w = rng.normal(size=(1, 4)).astype(np.float32)
g = helper.make_graph(
    [helper.make_node("Gemm", ["x", "w", "b"], ["z"], transB=1), helper.make_node("Sigmoid", ["z"], ["p"])], "torch",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])], [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 1])],
    [helper.make_tensor("w", TensorProto.FLOAT, [1, 4], w.tobytes(), raw=True), helper.make_tensor("b", TensorProto.FLOAT, [1], [0.5])])
save("gemm_sigmoid", helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
# Standardising and softmax by plain arithmetic, with reshapes on the way.
w2 = rng.normal(size=(4, 2)).astype(np.float32)
g = helper.make_graph(
    [helper.make_node("Sub", ["x", "m"], ["c"]), helper.make_node("Div", ["c", "s"], ["d"]), helper.make_node("Flatten", ["d"], ["f"]),
     helper.make_node("Unsqueeze", ["f", "ax"], ["u"]), helper.make_node("Squeeze", ["u", "ax"], ["v"]),
     helper.make_node("Reshape", ["v", "shape"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["z"]),
     helper.make_node("Add", ["z", "b"], ["l"]), helper.make_node("Softmax", ["l"], ["p"], axis=1), helper.make_node("ArgMax", ["p"], ["k"], axis=1, keepdims=0)],
    "softmax", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
    [helper.make_tensor_value_info("k", TensorProto.INT64, ["n"]), helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 2])],
    [helper.make_tensor("m", TensorProto.FLOAT, [4], X.mean(0)), helper.make_tensor("s", TensorProto.FLOAT, [1, 4], X.std(0)),
     helper.make_tensor("ax", TensorProto.INT64, [1], [1]), helper.make_tensor("shape", TensorProto.INT64, [2], [-1, 4]),
     helper.make_tensor("w", TensorProto.FLOAT, [4, 2], w2.flatten()), helper.make_tensor("b", TensorProto.FLOAT, [2], [0.1, -0.2])])
save("softmax_arithmetic", helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
# One row of coefficients for two classes: the runtime adds the second.
for post in ["NONE", "LOGISTIC", "SOFTMAX"]:
    g = helper.make_graph(
        [helper.make_node("LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml", coefficients=w[0].tolist(), intercepts=[0.25],
                          classlabels_ints=[0, 1], multi_class=0, post_transform=post)], "one_row",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]), helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 2])])
    try:
        save("one_row_" + post.lower(), helper.make_model(g, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8))
    except Exception as e:
        print("one_row", post, e)

# Written by this package (its tests make the file).
own = onnx.load(here / "own_logistic.onnx")
onnx.checker.check_model(own, full_check=True)
(here / "own_logistic.json").write_text(json.dumps({"rows": rows.tolist(), "scores": score(own)}))

# Refused.
tree = DecisionTreeClassifier(max_depth=2).fit(X, y)
(here / "refused_tree.onnx").write_bytes(to_onnx(tree, X[:1]).SerializeToString())
three = LogisticRegression().fit(X, rng.integers(0, 3, 400))
(here / "refused_three_classes.onnx").write_bytes(to_onnx(three, X[:1]).SerializeToString())
