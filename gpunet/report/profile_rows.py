"""What a profile says of each layer, worked out once for its table and its JSON."""

from collections.abc import Iterable
from dataclasses import dataclass

from gpunet.profile.measure import Profile
from gpunet.profile.steps import OpTime
from gpunet.report.rows import Row, layer_rows, loss_rows


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """A layer, the input or the loss, with its ops, or its parts of joint ones; the loss is forward up to its value.

    `planned`  the layer's row of the plan
    """

    planned: Row
    ops: tuple[OpTime, ...]

    @property
    def forward_ms(self) -> float:
        return _ms(op for op in self.ops if op.op.phase in ("forward", "loss"))

    @property
    def backward_ms(self) -> float:
        """Without what is made again."""
        return _ms(op for op in self.ops if op.op.phase == "backward" and not op.again)

    @property
    def again_ms(self) -> float:
        """What is made a second time, in backward."""
        return _ms(op for op in self.ops if op.again)

    @property
    def update_ms(self) -> float:
        return _ms(op for op in self.ops if op.op.phase == "update")

    @property
    def planned_bytes(self) -> int:
        """What the layer makes at any time of the step."""
        return sum(self.planned.bytes.values())

    @property
    def rounds(self) -> int:
        """The most rounds that any of its ops runs in."""
        return max((op.calls for op in self.ops), default=1)

    @property
    def gb_per_s(self) -> float | None:
        """10**9 bytes of inputs and outputs each second; None where no op ran."""
        return rate(sum(op.nbytes for op in self.ops), _ms(self.ops))

    @property
    def gflop_per_s(self) -> float | None:
        """10**9 operations each second of the ops that have matrix products; None where none has."""
        products = [op for op in self.ops if op.flops]
        return rate(sum(op.flops for op in products), _ms(products))


def profile_rows(profile: Profile) -> list[ProfileRow]:
    """The input, the layers in order, the losses."""
    rows = layer_rows(profile.net, profile.plan) + loss_rows(profile.net, profile.plan)
    parts = [(layer, op.part(share)) for op in profile.ops for layer, share in op.op.shares.items()]
    return [ProfileRow(row, tuple(op for layer, op in parts if layer == row.name)) for row in rows]


def rate(count: int, ms: float) -> float | None:
    """10**9 a second; None of nothing."""
    return count / ms / 1e6 if count and ms > 0 else None


def _ms(ops: Iterable[OpTime]) -> float:
    return sum(op.ms for op in ops)
