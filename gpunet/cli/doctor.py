"""`gpunet doctor`: what there is to train with, and how to get what is missing."""

import typer

from gpunet.cli import options


def doctor(json: options.Json = False) -> None:
    """Say what there is to train with (GPU, driver, CuPy, NVRTC, cuBLAS, memory), and how to get what is missing.

    Exit code 0 if the CPU can train, with or without a GPU, else 2.
    """
    from gpunet.doctor import examine, trains
    from gpunet.report.health import doctor_json, doctor_parts

    findings = examine()
    if json:
        from gpunet.report.as_json import as_text

        typer.echo(as_text(doctor_json(findings)))
    else:
        from gpunet.report.console import show

        show(*doctor_parts(findings))
    if not trains(findings, "cpu"):
        raise typer.Exit(2)
