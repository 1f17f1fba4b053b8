"""Reads features of a running feature store with Feast's own SDK.

Usage: feast_client.py URL. Prints the answer as JSON.
"""
import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float64, String
from feast.value_type import ValueType

url = sys.argv[1]
with tempfile.TemporaryDirectory() as directory:
    root = Path(directory)
    store = FeatureStore(config=RepoConfig(
        project="default", provider="local", registry=str(root / "registry.db"), entity_key_serialization_version=3,
        online_store={"type": "remote", "path": url}, offline_store={"type": "file"}))
    airport = Entity(name="airport", join_keys=["airport"], value_type=ValueType.STRING)
    view = FeatureView(
        name="origin_delays", entities=[airport], ttl=timedelta(hours=6), source=FileSource(path=str(root / "x.parquet"), timestamp_field="date"),
        schema=[Field(name="airport", dtype=String), Field(name="late_share", dtype=Float64), Field(name="flights", dtype=Float64)])
    store.apply([airport, view])
    answer = store.get_online_features(
        features=["origin_delays:late_share", "origin_delays:flights"],
        entity_rows=[{"airport": "XXX"}, {"airport": "ZZZ"}]).to_dict()
    print(json.dumps(answer))
