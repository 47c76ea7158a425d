"""Orchestration: one Prefect flow per stage, `study` for all of them, and the command line.

Prefect reads its settings from the environment once, at import, so the defaults are set here, before any module of
this package imports it. Whatever the user has set stays.
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_STATE = Path(os.environ.get("PREFECT_HOME", ROOT / ".prefect"))
_DEFAULTS = {
    "PREFECT_HOME": str(_STATE),
    "PREFECT_MEMO_STORE_PATH": str(_STATE / "memo_store.toml"),
    "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(_STATE / "results"),
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "1",
    "DO_NOT_TRACK": "1",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
