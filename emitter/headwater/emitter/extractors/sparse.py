"""scipy's sparse arrays: their stored values in one order, whatever format holds them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from headwater.emitter.extractors.extraction import Extraction, library
from headwater.emitter.extractors.numpy_arrays import array_version
from headwater.schemas.canonical import json_version
from headwater.schemas.events import Json, Statistics


@dataclass(frozen=True, slots=True)
class SparseContent:
    """A sparse matrix: `json1` over its shape and the versions of what is not zero, by rows."""

    data: Any

    def version(self) -> str:
        """See `Content`."""
        matrix = self.data.tocsr(copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        matrix.sort_indices()
        ends, places = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int64)
        parts = {
            "ends": array_version(ends),
            "columns": array_version(places),
            "values": array_version(matrix.data),
        }
        return json_version({"sparse": {"shape": _shape(matrix), **parts}})

    def sample(self) -> str:
        """See `Content`."""
        return self.version()

    def extraction(self, raw_values: Collection[str]) -> Extraction:
        """See `Content`."""
        shape = [int(size) for size in self.data.shape]
        size = sum(
            int(getattr(self.data, name).nbytes)
            for name in ("data", "indices", "indptr")
            if hasattr(self.data, name)
        )
        return Extraction(
            version=self.version(),
            statistics=Statistics(row_count=int(self.data.shape[0]), size=size or None),
            details=library("scipy", self.data, shape, dtype=str(self.data.dtype), stored=int(self.data.nnz)),
        )


def _shape(matrix: Any) -> list[Json]:
    return [int(size) for size in matrix.shape]


def open_sparse(data: Any) -> SparseContent:
    """A sparse array or matrix of two dimensions."""
    return SparseContent(data)
