"""The server of the image, with a route that reports the process's resources."""

import asyncio
from typing import Any

from fastapi import FastAPI

from audifi.app import create_app
from audifi.core.config.settings import Settings, load
from audifi.core.telemetry import logging as logs
from audifi.serve import EXIT_WITHIN_SECONDS, listen, serve
from audifi.services import Services, build_services


def add_route(app: FastAPI) -> None:
    @app.get("/soak")
    async def held() -> dict[str, Any]:
        services: Services = app.state.services
        limit = services.concurrency_limit
        pools = [*services.database.pools, *services.background_database.pools]
        return {
            "tasks": len(asyncio.all_tasks()) - 1,  # this one
            "pool": sum(pool.idle + pool.in_use for pool in pools),
            "checked_out": sum(pool.in_use for pool in pools),
            "in_work": limit.in_flight - 1,
            "shed": limit.rejected,
        }


if __name__ == "__main__":
    logs.configure()
    settings = load(Settings)
    app = create_app(build_services(settings))
    add_route(app)
    serve(app, settings, listen(settings.host, settings.port), exit_within_seconds=EXIT_WITHIN_SECONDS)
