"""Profiles: what a training step took, op by op, beside what was planned; and what that says of other plans."""

from gpunet.planning.predict import predicted_images_per_second

__all__ = ["predicted_images_per_second"]
