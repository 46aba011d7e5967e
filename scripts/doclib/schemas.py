"""docs/schemas: JSON Schemas of the documents that devices and cloud exchange, and that people write."""

import json

from pydantic import BaseModel

from cloud_tools.rollout.plan import RolloutPlan
from edge_agent.formats import (
    Alarm,
    Heartbeat,
    InspectionNews,
    JobDocument,
    LogNews,
    Manifest,
    ModelsConfig,
    SummaryNews,
)

DOCUMENTS: dict[str, type[BaseModel]] = {
    "alarm.json": Alarm,
    "heartbeat.json": Heartbeat,
    "inspection.json": InspectionNews,
    "inspection-summary.json": SummaryNews,
    "job.json": JobDocument,
    "log.json": LogNews,
    "manifest.json": Manifest,
    "models_config.json": ModelsConfig,
    "rollout.json": RolloutPlan,
}


def documents() -> dict[str, str]:
    """Return file names and contents."""
    return {name: _schema(kind) for name, kind in DOCUMENTS.items()}


def _schema(kind: type[BaseModel]) -> str:
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **kind.model_json_schema(by_alias=True)}
    return json.dumps(schema, indent=2) + "\n"
