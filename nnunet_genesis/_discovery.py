"""Let nnU-Net find our trainers by name: no environment variable, no file copied into nnU-Net.

nnU-Net resolves ``-tr NAME`` and ``checkpoint["trainer_name"]`` by importing the modules under
``nnunetv2/training/nnUNetTrainer`` and asking ``hasattr(module, NAME)``. `install` runs at interpreter start
(``nnunet_genesis_startup.pth``; ``.start`` on Python >= 3.15, PEP 829) and gives the first of these modules a lazy
module ``__getattr__`` (PEP 562) as soon as nnU-Net imports it.

Standard library only: it runs in every interpreter of the environment and must never raise there.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from _typeshed.importlib import LoaderProtocol

HOST = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
BASE_NAME = "nnUNetTrainerGenesis"


def install() -> None:
    """Extend nnU-Net's trainer module now if it is loaded, else as soon as it is imported."""
    if HOST in sys.modules:
        _extend(sys.modules[HOST])
    elif not any(isinstance(finder, _HostFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _HostFinder())


def is_genesis_name(name: str) -> bool:
    """Tell whether a trainer name is ours to resolve; ``nnUNetTrainerGenesisXYZ`` is somebody else's."""
    return name == BASE_NAME or name.startswith(BASE_NAME + "_")


def _extend(module: ModuleType) -> None:
    previous = module.__dict__.get("__getattr__")

    def getattr_(name: str) -> object:
        if is_genesis_name(name):
            from nnunet_genesis import trainers

            return getattr(trainers, name)
        if previous is not None:
            return previous(name)
        raise AttributeError(f"module {HOST!r} has no attribute {name!r}")

    module.__dict__["__getattr__"] = getattr_


class _HostFinder:
    """Delegate to the other finders; run `_extend` after the host module has executed."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != HOST:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _ExtendingLoader(spec.loader)  # type: ignore[assignment]
                return spec
        return None


class _ExtendingLoader:
    """nnU-Net's own loader, followed by `_extend`; everything else is passed through."""

    def __init__(self, loader: LoaderProtocol) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        create = getattr(self._loader, "create_module", None)
        module: ModuleType | None = create(spec) if create is not None else None
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)  # type: ignore[attr-defined]
        _extend(module)

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)
