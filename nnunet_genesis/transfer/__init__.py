"""Put pretrained weights into a network, tensor by tensor, and say exactly which rule put what where."""

from nnunet_genesis.transfer.engine import MINIMUM_SHARE, load_weights, plan_transfer, refusal, unwrap
from nnunet_genesis.transfer.report import TransferReport

__all__ = ["MINIMUM_SHARE", "TransferReport", "load_weights", "plan_transfer", "refusal", "unwrap"]
