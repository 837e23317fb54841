"""The demo's data: 442 real patients, delivered twice, because data gets corrected.

The set is that of Efron, Hastie, Johnstone and Tibshirani (2004), which ships with
scikit-learn. In the first delivery the decimal point of some body mass indices has slipped;
the second is the set as it is.
"""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_diabetes

ASSET, CLEANED = "patients", "patients.plausible"
TARGET = "progression"
SLIPPED_EVERY = 12


def deliver(path: Path, *, corrected: bool) -> int:
    """Write one delivery to `path`, over the one before; in how many rows the two differ."""
    frame = load_diabetes(as_frame=True, scaled=False).frame.rename(columns={"target": TARGET})
    slipped = frame.index % SLIPPED_EVERY == 5
    if not corrected:
        frame["bmi"] = frame["bmi"].where(~slipped, frame["bmi"] * 10)
    frame.to_csv(path, index=False)
    return int(slipped.sum())
