"""Two coordinates per patch, for the picture."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from nnunet_genesis.errors import SetupError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Projection:
    """Where patches are drawn.

    Attributes:
        points: (scans, patches, 2).
        axes: Names of the two axes.
    """

    points: npt.NDArray[np.float32]
    axes: tuple[str, str]


def require_umap() -> None:
    """Make sure that UMAP can be used, before anything is computed.

    Raises:
        SetupError: If umap-learn is not installed.
    """
    if importlib.util.find_spec("umap") is None:
        raise SetupError("--umap: umap-learn is not installed", mend="pip install umap-learn, or leave --umap out")


def project(features: npt.NDArray[np.float32], *, by_umap: bool, seed: int) -> Projection:
    """Project standardised features (scans, patches, features) onto two axes, by PCA or by UMAP."""
    scans, patches, count = features.shape
    flat = StandardScaler().fit_transform(features.reshape(-1, count))
    axes: tuple[str, str]
    if by_umap:
        umap: Any = importlib.import_module("umap")
        points = umap.UMAP(n_components=2, random_state=seed).fit_transform(flat)
        axes = ("UMAP 1", "UMAP 2")
    else:
        pca = PCA(n_components=2, svd_solver="full")
        points = pca.fit_transform(flat)
        first, second = (100 * pca.explained_variance_ratio_).tolist()
        axes = (f"PC 1 ({first:.0f} % of the variance)", f"PC 2 ({second:.0f} %)")
    return Projection(points.reshape(scans, patches, 2), axes)
