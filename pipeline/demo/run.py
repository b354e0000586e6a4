"""`kalai demo`: the whole pipeline on a loopback web, in a scratch copy of the project."""

from __future__ import annotations

import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from pipeline.commands.status import status
from pipeline.core.errors import PipelineError, Stage
from pipeline.core.params import PARAMS
from pipeline.demo import figures
from pipeline.demo.found import Finding, find_planted
from pipeline.demo.scenes import Scene, make_scene
from pipeline.demo.scratch import BIN, Scratch, check_tools, project_files
from pipeline.demo.web import Web
from pipeline.demo.world import SEARCH

SEED = 8  # of the drawn world; the README's figures are of this one
PER_CLASS = 100  # of 156 classes in both parts: 20 minutes on two cores

BYE = """
Next: `kalai demo --keep` keeps the project and the web, so that you can look at the plots, add a
dance, `dvc repro`, and see with `dvc metrics diff` what it changed."""


@click.command(cls=Stage)
@click.option("--keep", is_flag=True, help="Keep the folder and serve on until Ctrl-C.")
@click.option(
    "--dances",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve real pictures instead: a folder a class.",
)
@click.option(
    "--tamil",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve real archives instead: hpl-tamil-*-{train,test}-{offline,online}*.tar.gz.",
)
@click.option(
    "--tamil-per-class",
    type=click.IntRange(min=1),
    default=PER_CLASS,
    show_default=True,
    help="With --tamil: at most so many samples of each class and part.",
)
def main(keep: bool, dances: Path | None, tamil: Path | None, tamil_per_class: int) -> None:
    """Run the whole pipeline offline on a small drawn world.

    Copies the project to a scratch folder (below TMPDIR, 1 GB), starts a web on this machine that
    plays the image search, the image hosts and the archive mirror, and runs `dvc repro` there.
    Faults are planted in that world; the table at the end tells what became of them, and one that
    was not found makes the demo fail.

    \b
    Examples:
      kalai demo                                    minutes; leaves nothing behind
      kalai demo --keep                             stays: add a dance, look around
      kalai demo --dances PHOTOS --tamil ARCHIVES   the same on real files
    """
    started = time.monotonic()
    check_tools()
    scene = make_scene(SEED, dances, tamil, tamil_per_class)
    folder = Path(tempfile.mkdtemp(prefix="kalai-demo-"))
    scratch = Scratch(folder)
    is_over = False
    try:
        with Web(scene.world, folder / ".dvc" / "tmp" / "web.jsonl") as web:
            show(scratch, scene, web)
            click.echo(f"\n{time.monotonic() - started:.0f} s in all.")
            if keep:
                serve_on(scratch, scene)
            else:
                is_over = True
                click.echo(BYE)
    except KeyboardInterrupt:
        raise PipelineError("interrupted", exit_code=130) from None
    finally:
        if is_over:
            shutil.rmtree(folder)
        else:
            click.echo(f"The folder stays: {folder} (rm -rf {shlex.quote(str(folder))})", err=True)


def show(scratch: Scratch, scene: Scene, web: Web) -> None:
    """Run the pipeline on a scene and tell what came out.

    Raises PipelineError where a stage fails or a planted fault was not found.
    """
    project = yaml.safe_load(project_files()[str(PARAMS)].read_text(encoding="utf-8"))
    scratch.create(scene.params(project, web))
    click.echo(f"project    {scratch.root}\nsearch     http://{web.address(SEARCH)}")
    if scene.is_drawn:
        # Sixteen small pictures a step: more threads gain little, and lose much on a busy machine.
        scratch.env.setdefault("OMP_NUM_THREADS", "1")
    scratch.dvc("repro")
    scratch.commit("What the first run gave")
    findings = find_planted(scratch.root / "data", scene, web)
    if findings:
        click.echo("\n" + "\n".join(table(findings)))
    click.echo("\n" + "\n".join(status(scratch.root)))
    missed = [finding.fault for finding in findings if finding.found != finding.planted]
    if missed:
        raise PipelineError(f"not found as planted: {', '.join(missed)}")


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the lines of the fault table."""
    wide = max(len(finding.fault) for finding in findings)
    lines = [f"{'fault':{wide}} | planted | found | what became of it"]
    lines.append(f"{'-' * wide}-|---------|-------|------------------")
    for finding in findings:
        mark = "" if finding.found == finding.planted else "   <- NOT ALL"
        lines.append(
            f"{finding.fault:{wide}} | {finding.planted:7} | {finding.found:5} | "
            f"{finding.verdict}{mark}"
        )
    return lines


def serve_on(scratch: Scratch, scene: Scene) -> None:
    """Say what to try in a second terminal, and wait for Ctrl-C."""
    click.echo("\n".join(["", *next_steps(scratch, scene), "", "Serving on; Ctrl-C ends it."]))
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo()


def next_steps(scratch: Scratch, scene: Scene) -> list[str]:
    """Return commands that work in the kept folder while the web is served."""
    lines = [
        "Next, in a second terminal:",
        f"  cd {shlex.quote(str(scratch.root))}",
        f"  export PATH={shlex.quote(str(BIN))}:$PATH",
    ]
    if scene.drawn_dances:
        new = next(name for name in figures.STYLES if name not in scene.drawn_dances)
        queries = f'--query "{new} dance" --query "{new} dancer on stage"'
        lines += [
            f"  kalai add-dance {new} {queries}",
            "  dvc repro                     # crawls the new one alone, then what follows",
            "  dvc metrics diff              # what it changed",
        ]
    else:
        lines += [
            "  dvc exp run -S train.dances.size=128",
            "  dvc exp show --only-changed   # what it changed",
        ]
    return [
        *lines,
        "  kalai status",
        "  ls data/*/reports/*/*.png     # curves, confusion, calibration",
    ]
