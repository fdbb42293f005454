"""What planning for a GPU needs to know, on a machine with or without one."""

from gpunet.devices.target import MIB, DeviceTarget, Reserve


class CudaTarget(DeviceTarget):
    """512 MiB for the CUDA context and loaded kernels where nobody has measured it; 8 MiB for cuBLAS."""

    name = "cuda"
    reserve_bytes = 512 * MIB
    scratch_limit_bytes = 64 * MIB
    gathers_windows = False

    def reserve(self) -> Reserve:
        from gpunet.devices.cuda.reserve import measured

        return measured() or Reserve(self.reserve_bytes)

    def hardware(self) -> str | None:
        from gpunet.devices.cuda.reserve import hardware

        return hardware()

    def gemm_workspace_bytes(self, rows: int, columns: int, itemsize: int, *, accumulate: bool) -> int:
        """cuBLAS asks for at least 4 MiB; see cublasSetWorkspace in its documentation."""
        return 8 * MIB


TARGET = CudaTarget()
