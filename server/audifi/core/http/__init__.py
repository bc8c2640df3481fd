"""HTTP: middleware, routing, schemas, problems and the OpenAPI document."""
