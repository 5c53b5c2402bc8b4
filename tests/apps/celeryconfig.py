"""Settings of Celery: the queue and the results in folders, so that no server is needed."""

import pathlib

for folder in ("queue", "control", "results"):
    pathlib.Path(folder).mkdir(exist_ok=True)
broker_url = "filesystem://"
broker_transport_options = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
result_backend = "file://results"
