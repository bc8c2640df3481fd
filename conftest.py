"""The fixtures that all tests share, of the server and of the tools."""

pytest_plugins = ["tests.support.fixtures"]
