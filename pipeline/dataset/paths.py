"""Paths of all files below data/<dataset>/, and the errors for missing ones.

Paths are relative to the project's root, where DVC runs every stage.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.core.errors import PipelineError, unknown_dataset

DATA = Path("data")
LOCK = Path("dvc.lock")
DECISIONS = "decisions.csv"
LEDGER = "ledger.jsonl"
CRAWL_REPORT = "crawl-"  # the crawl report for one class is crawl-<class>.json


def dataset_folder(dataset: str) -> Path:
    """Return the folder of a dataset."""
    return DATA / dataset


def known_datasets(root: Path = Path()) -> list[str]:
    """Return the names of the datasets of the project at `root`, sorted.

    Every dataset has a decisions.csv, which git tracks. Raises PipelineError if there is no data
    folder.
    """
    if not (root / DATA).is_dir():
        raise PipelineError(f"{DATA}: folder not found; run this in the project's root folder")
    return sorted(path.parent.name for path in (root / DATA).glob(f"*/{DECISIONS}"))


def check_dataset(dataset: str) -> None:
    """Raise PipelineError if the project has no such dataset; the error lists those it has."""
    folder = dataset_folder(dataset)
    if folder.parent != DATA or not folder.is_dir():
        raise unknown_dataset(dataset, known_datasets())


def trained_datasets() -> list[str]:
    """Return the names of the datasets that have a trained model, sorted.

    Raises PipelineError if none has.
    """
    names = sorted(path.parent.parent.name for path in DATA.glob("*/model/model.json"))
    if not names:
        raise PipelineError(
            f"{DATA}: no trained model found; run `dvc repro` to train or `dvc pull` to download "
            "one; after a failed run, `dvc checkout` restores the last one"
        )
    return names


def missing_file(path: Path, stage: str | None = None) -> PipelineError:
    """Return the error for a file below data/<dataset>/ that does not exist yet.

    `stage` is the stage that writes it; None if several stages can. If the project has no such
    dataset, this is the error for an unknown dataset.
    """
    dataset = path.relative_to(DATA).parts[0]
    if DATA.is_dir() and not dataset_folder(dataset).is_dir():
        return unknown_dataset(dataset, known_datasets())
    command = "dvc repro" if stage is None else f"dvc repro {stage}@{dataset}"
    return PipelineError(f"{path}: file not found; run `{command}`, or `dvc pull` to download it")


def crawl_folder(dataset: str) -> Path:
    """Return the folder that contains a subfolder for each crawled class."""
    return DATA / dataset / "crawl"


def ledger_path(dataset: str, key: str) -> Path:
    """Return the path of the ledger for one crawled class."""
    return crawl_folder(dataset) / key / LEDGER


def crawl_images_folder(dataset: str, key: str) -> Path:
    """Return the folder with the images of one crawled class."""
    return crawl_folder(dataset) / key / "images"


def archives_folder(dataset: str) -> Path:
    """Return the folder for downloaded and verified archives."""
    return DATA / dataset / "archives"


def archive_path(dataset: str, source: str, part: str) -> Path:
    """Return the path of an archive; `source` is online or offline, `part` is train or test."""
    return archives_folder(dataset) / f"{source}-{part}.tar.gz"


def known_archives_path(dataset: str) -> Path:
    """Return the path of the JSON file that describes all downloaded archives."""
    return archives_folder(dataset) / "known.json"


def incoming_folder(dataset: str) -> Path:
    """Return the folder for archives that are still incomplete."""
    return DATA / dataset / "incoming"


def downloads_folder(dataset: str) -> Path:
    """Return the folder for files downloaded from the URLs in a table."""
    return DATA / dataset / "downloads"


def cache_folder(dataset: str) -> Path:
    """Return the folder for cached results, which can be computed again."""
    return DATA / dataset / "cache"


def samples_path(dataset: str) -> Path:
    """Return the path of the table of samples."""
    return DATA / dataset / "samples.parquet"


def rejected_path(dataset: str) -> Path:
    """Return the path of the table of rejected items."""
    return DATA / dataset / "rejected.csv"


def dedupe_path(dataset: str) -> Path:
    """Return the path of the table that marks which samples are kept."""
    return DATA / dataset / "dedupe.parquet"


def pairs_path(dataset: str) -> Path:
    """Return the path of the table of similar pairs."""
    return DATA / dataset / "pairs.parquet"


def decisions_path(dataset: str) -> Path:
    """Return the path of the table of people's decisions, which git tracks."""
    return DATA / dataset / DECISIONS


def arrivals_path(dataset: str) -> Path:
    """Return the path of the table that records when split first saw each image."""
    return DATA / dataset / "arrivals.parquet"


def split_path(dataset: str) -> Path:
    """Return the path of the table that assigns each sample to a part."""
    return DATA / dataset / "split.csv"


def model_folder(dataset: str) -> Path:
    """Return the folder of the trained model."""
    return DATA / dataset / "model"


def checkpoint_path(dataset: str) -> Path:
    """Return the path of the checkpoint from which an interrupted training resumes."""
    return DATA / dataset / "checkpoints" / "state.pt"


def predictions_path(dataset: str) -> Path:
    """Return the path of the table of predictions."""
    return DATA / dataset / "predictions.parquet"


def suspects_path(dataset: str) -> Path:
    """Return the path of the table of labels that are probably wrong."""
    return DATA / dataset / "suspects.parquet"


def sheet_path(dataset: str, name: str) -> Path:
    """Return the path of a contact sheet: "classes", "duplicates", "top_losses" or "card"."""
    return DATA / dataset / f"{name}.png"


def weights_folder() -> Path:
    """Return the folder of pretrained weights, which all datasets share."""
    return DATA / "weights"


def reports_folder(dataset: str, root: Path = Path()) -> Path:
    """Return the folder of a dataset's reports, which git tracks."""
    return root / DATA / dataset / "reports"


def report_path(dataset: str, stage: str) -> Path:
    """Return the path of a stage's metrics, a JSON file."""
    return reports_folder(dataset) / f"{stage}.json"


def crawl_report_path(dataset: str, key: str) -> Path:
    """Return the path of the JSON file with the crawl metrics for one class."""
    return report_path(dataset, f"{CRAWL_REPORT}{key}")


def plots_folder(dataset: str, stage: str) -> Path:
    """Return the folder of a stage's plots and the tables behind them."""
    return reports_folder(dataset) / stage
