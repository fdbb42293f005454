"""Keeps a profile in the user's cache, for later plans."""

from pathlib import Path

from gpunet.devices.cards import named
from gpunet.devices.cuda import reserve
from gpunet.devices.name import kind_of, split_name
from gpunet.devices.target import Reserve
from gpunet.planning import efficiency
from gpunet.planning.predict import Kept, KeptOp, as_entry, file_name, op_key, scales
from gpunet.planning.prediction import found_paces
from gpunet.profile.measure import Profile
from gpunet.system import cache

LEAST_MS = 1e-6
"""What a clock cannot see still takes some time."""


def keep(profile: Profile) -> Path | None:
    """Keep the times of a profile; returns the file, None where the hardware has no name to keep them under.

    Raises DataError where the cache cannot be written.
    """
    if profile.hardware is None:
        return None
    plan = profile.plan
    name = file_name(profile.net, plan.dtype, plan.device, profile.hardware)
    return cache.put(name, str(plan.batch), as_entry(summary(profile)))


def keep_reserve(profile: Profile) -> Reserve | None:
    """Keep the reserve that was measured; returns what later plans use, None where none was measured.

    Raises DataError where the cache cannot be written.
    """
    if profile.reserve_bytes is None:
        return None
    _, number = split_name(profile.plan.device)
    return reserve.keep(profile.reserve_bytes, number)


def keep_paces(profile: Profile) -> Path | None:
    """Keep how fast this GPU was beside what is predicted of such a card; returns the file, None where there is none.

    None on the CPU, in float64, for a GPU that is not in the table of cards, and where the net is so small that its
    launches are all that shows. Raises DataError where the cache cannot be written.
    """
    plan = profile.plan
    if kind_of(plan.device) != "cuda" or plan.dtype != "float32" or profile.hardware is None:
        return None
    found = named(profile.hardware.partition(", driver ")[0])
    if len(found) != 1:
        return None
    source = f"what gpunet profile found with {plan.net}, batch {plan.batch}, on the {profile.hardware}"
    paces = found_paces(plan, found[0], [op.ms for op in profile.ops], source)
    return efficiency.keep(found[0], paces) if paces.by_key else None


def summary(profile: Profile) -> Kept:
    """What predictions need of a profile; ops with the same key share their mean."""
    times: dict[str, list[KeptOp]] = {}
    batch = profile.plan.batch
    for op in profile.ops:
        ms = max(op.ms, LEAST_MS)
        kept = KeptOp(ms / batch, op.images) if scales(op.op) else KeptOp(ms / op.calls, 0)
        times.setdefault(op_key(op.op), []).append(kept)
    means = {key: KeptOp(sum(op.ms for op in ops) / len(ops), ops[0].images) for key, ops in times.items()}
    small = [op for op in profile.ops if not op.flops]
    rate = sum(op.nbytes for op in small) / max(sum(op.ms for op in small), LEAST_MS)
    return Kept(batch, means, rate, profile.step_ms / max(profile.ops_ms, LEAST_MS))
