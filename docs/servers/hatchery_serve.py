"""Serve a model with hatchery on this machine's CPU: ``python hatchery_serve.py MODEL PORT``."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import uvicorn
from hatchery.core import local_dev
from hatchery.core.gateway import create_app, set_config
from hatchery.core.worker import GPUWorker


async def serve(model: str, port: int) -> None:
    """Serve until the process is ended; hatchery's own launcher takes a GPU, or a stand-in."""
    config = local_dev._build_config("tml-local")  # noqa: SLF001
    set_config(config)
    app = create_app(config=config)
    await config.metadata.initialize()
    await config.queue.initialize()
    worker = GPUWorker(worker_id="cpu", base_model_name=model, config=config, device="cpu")
    await worker.register()

    async def work() -> None:
        while True:
            job = await config.queue.dequeue(worker_id="cpu", model_filter=model, visibility_timeout=300)
            if job is None:
                await asyncio.sleep(0.005)
            else:
                await worker._process_one(job)  # noqa: SLF001

    task = asyncio.create_task(work())
    await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off")).serve()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
