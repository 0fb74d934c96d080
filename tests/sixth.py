"""A sixth kind of long call: the bootstrap, in memory or grown part by part. Nothing in it knows of PyMC or JAX."""

from functools import partial

import numpy as np

from bayesdiff.calls import cut, long_call, stream
from bayesdiff.fingerprints import digest
from bayesdiff.growing import Growth
from bayesdiff.results import dataset, tree

ROWS = 8


def bootstrap(y, replicates=40, *, random_seed=None, progressbar=False, store=None, executor=None, grow=False):
    """Compute the means of data drawn again: seeds, parts, a store and workers come with the call."""
    rows = cut(replicates, ROWS)
    how = random_seed, store, executor, progressbar
    with long_call("bootstrap", partial(told, y, replicates), *how, total=replicates, units="parts") as call:
        if call.finished is not None:
            return call.finished
        parts = [(number, row.stop - row.start) for number, row in enumerate(rows)]
        each = partial(call.each, means, (y, call.seed), parts, rows=lambda part: part[1])
        if grow and call.folder is not None:
            growth = Growth(call.folder / "run.zarr", "replicate", ROWS, replicates)
            if not growth.restored():
                call.forget(range(len(parts)))
            while True:
                kept = dict(each(then=partial(written, growth)))
                if not (bad := growth.damaged()):
                    return call.done(growth, {}, said(np.concatenate([kept[i]["mean"] for i in sorted(kept)])))
                call.forget(bad)
        found = dict(each())
        mean = np.concatenate([found[i]["mean"] for i in range(len(parts))])
        return call.done(groups(mean), {})


def told(y, replicates):
    return {"y": digest(y), "replicates": replicates}


def means(y, seed, part, *, progress=None):
    number, count = part
    rng = stream(seed, "replicates", number)
    if progress:
        progress(count)
    return {"mean": y[rng.integers(len(y), size=(count, len(y)))].mean(axis=1)}


def groups(mean):
    return {
        "replicates": dataset({"mean": mean, "square": mean**2}, sample_dims=["replicate"]),
        "verdict": dataset({"finite": np.isfinite(mean)}, sample_dims=["replicate"], attrs=said(mean)),
        "data": dataset({"limits": np.array([0.0, 1.0])}),
    }


def written(growth, number, result):
    growth.write(tree(groups(result["mean"])), number)
    return result


def said(mean):
    fine = bool(np.isfinite(mean).all())
    return {"sentence": "All is fine." if fine else "Some means are not finite.", "warned": not fine}
