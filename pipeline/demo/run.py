"""`kalai demo`: run the whole pipeline offline, in a scratch copy of the project."""

from __future__ import annotations

import shlex
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
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

SEED = 8  # of the synthetic world; the README's figures come from this seed
PER_CLASS = 100  # with all 156 classes: 20 minutes on two cores

LAST_LINES = """
Next: run `kalai demo --keep`. It keeps the project and the web, so that you can look at the plots,
add a dance, run `dvc repro`, and see with `dvc metrics diff` what changed."""


@click.command(cls=Stage)
@click.option("--keep", is_flag=True, help="Keep the project and serve the web until Ctrl-C.")
@click.option(
    "--dances",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve real images: a folder with one folder per class.",
)
@click.option(
    "--tamil",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Serve real archives: hpl-tamil-*-{train,test}-{offline,online}*.tar.gz.",
)
@click.option(
    "--tamil-per-class",
    type=click.IntRange(min=1),
    default=PER_CLASS,
    show_default=True,
    help="With --tamil: the maximum number of samples of each class and part.",
)
def main(keep: bool, dances: Path | None, tamil: Path | None, tamil_per_class: int) -> None:
    """Run the whole pipeline offline on small synthetic data.

    Copies the project to a scratch folder (1 GB below TMPDIR). Serves the image search, the image
    hosts and the archive mirror on this machine, and runs `dvc repro`. The world has planted
    faults. A table at the end shows what became of each; the demo fails if it missed one.

    \b
    Examples:
      kalai demo                                    about two minutes; removes its folder
      kalai demo --keep                             keeps it, so that you can add a dance
      kalai demo --dances PHOTOS --tamil ARCHIVES   the same on real files
    """
    started = time.monotonic()
    check_tools()
    drawn = [name for name, folder in (("images", dances), ("pen files", tamil)) if folder is None]
    if drawn:
        click.echo(f"Drawing {' and '.join(drawn)}, and planting faults among them.")
    scene = make_scene(SEED, dances, tamil, tamil_per_class)
    folder = Path(tempfile.mkdtemp(prefix="kalai-demo-"))
    scratch = Scratch(folder)
    is_done = False
    try:
        with Web(scene.world, folder / ".dvc" / "tmp" / "web.jsonl") as web:
            create(scratch, scene, web)
            if keep:
                click.echo(f"project    {scratch.root}\nsearch     http://{web.address(SEARCH)}")
            click.echo("Running `dvc repro` in a scratch copy of the project.\n")
            scratch.dvc("repro")
            scratch.commit("Results of the first run")
            show(scratch, scene, web, keep)
            click.echo(f"\nFinished in {time.monotonic() - started:.0f} s.")
            if keep:
                serve_on(scratch, scene)
            else:
                is_done = True
                click.echo(LAST_LINES)
    except KeyboardInterrupt:
        raise PipelineError("interrupted", exit_code=130) from None
    finally:
        if is_done:
            shutil.rmtree(folder)
        else:
            removal = f"rm -rf {shlex.quote(str(folder))}"
            click.echo(f"The project stays in {folder}; to remove it: {removal}", err=True)


def create(scratch: Scratch, scene: Scene, web: Web) -> None:
    """Create the scratch project with the params for a scene."""
    project = yaml.safe_load(project_files()[str(PARAMS)].read_text(encoding="utf-8"))
    scratch.create(scene.params(project, web))
    if scene.is_drawn:
        # A batch is 16 small images: more threads gain little, and lose much on a busy machine.
        scratch.env.setdefault("OMP_NUM_THREADS", "1")


def show(scratch: Scratch, scene: Scene, web: Web, keep: bool) -> None:
    """Print the fault table and the status of each dataset.

    Raises PipelineError if the run missed a planted fault.
    """
    findings = find_planted(scratch.root, scene, web.traffic())
    if findings:
        click.echo("\n" + "\n".join(table(findings)))
    click.echo("\n" + "\n".join(status_lines(scratch.root, keep)))
    missed = [finding.fault for finding in findings if finding.found != finding.planted]
    if missed:
        raise PipelineError(f"not all planted faults were found: {', '.join(missed)}")


def status_lines(root: Path, keep: bool) -> Iterator[str]:
    """Yield the lines of `kalai status`, without project paths if the project is to be removed."""
    return (line for line in status(root) if keep or str(root) not in line)


def table(findings: Sequence[Finding]) -> list[str]:
    """Return the lines of the fault table."""
    width = max(len(finding.fault) for finding in findings)
    lines = [f"{'fault':{width}} | planted | found | outcome"]
    lines.append(f"{'-' * width}-|---------|-------|--------")
    for finding in findings:
        mark = "" if finding.found == finding.planted else "   <- NOT ALL"
        lines.append(
            f"{finding.fault:{width}} | {finding.planted:7} | {finding.found:5} | "
            f"{finding.outcome}{mark}"
        )
    return lines


def serve_on(scratch: Scratch, scene: Scene) -> None:
    """Print commands to try in a second terminal, and wait for Ctrl-C."""
    lines = ["", *next_steps(scratch, scene), "", "The web is running; press Ctrl-C to end it."]
    click.echo("\n".join(lines))
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        click.echo()


def next_steps(scratch: Scratch, scene: Scene) -> list[str]:
    """Return commands that work in the kept project while the web is running."""
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
            "  dvc repro                     # crawls the new dance only, then runs what follows",
            "  dvc metrics diff              # shows what the new dance changed",
        ]
    else:
        lines += [
            "  dvc exp run -S train.dances.size=128",
            "  dvc exp show --only-changed   # shows what the new size changed",
        ]
    return [
        *lines,
        "  kalai status",
        "  ls data/*/reports/*/*.png     # plots: learning curves, confusion, calibration",
    ]
